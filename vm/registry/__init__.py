"""Machines that have a name: those that run on without us, and those whose disks are kept."""
