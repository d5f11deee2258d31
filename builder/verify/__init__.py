"""Two builds of one definition, in surroundings that differ in everything that must not matter, and what differs.

``run`` makes the two, ``elsewhere`` and ``perturbed`` are the surroundings of the second, ``records`` is what each
leaves of its stages, ``artifacts`` compares the files and ``locate`` says where a difference is.
"""
