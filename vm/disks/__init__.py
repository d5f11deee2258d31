"""What a machine has on the host's disk: made before it starts, damaged or read back while it is off."""
