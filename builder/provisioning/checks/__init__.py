"""Checks of a config against its image: what a first boot would refuse, and what would not work after it.

An error is what the machine itself refuses before it does anything; it is found by the code that runs there, on the
image's facts. A warning is what would be done and would then not work: one file for each kind below.
"""
