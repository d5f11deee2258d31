"""Artifacts: programs, files and archives that are no Debian package, by hash; fetched, unpacked, placed in a tree."""
