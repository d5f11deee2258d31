"""What a machine gets from outside: which platform it is on, its config, its metadata."""
