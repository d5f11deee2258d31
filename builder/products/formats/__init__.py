"""One file for each kind of file that products are."""
