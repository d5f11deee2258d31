"""Publishing: a directory of versions, channels and the metadata of TUF; and a server of it, with locks for reboots."""
