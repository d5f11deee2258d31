"""What a machine is to be and what it is: recorded at the first boot, compared and made so again later.

Only what can be done again is: users, files and units. Disks are made once.
"""
