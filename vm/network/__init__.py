"""A network of virtual machines on one host, without privilege."""
