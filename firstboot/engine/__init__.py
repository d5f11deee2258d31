"""What becomes of a first-boot config: compiled, planned, carried out; by machine, command line and host alike."""
