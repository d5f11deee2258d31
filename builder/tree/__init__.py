"""A root file system as a value: path -> what is there, with pointers to content instead of bytes."""
