"""A shop of a few lines, for the boot test of apps."""
