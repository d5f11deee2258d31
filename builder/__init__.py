"""HOST side of build-os: a definition in, a lock, a tree and the artifacts of an image out."""
