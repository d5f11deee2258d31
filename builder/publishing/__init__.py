"""Publishing: a directory that any web server can serve, with versions, channels and the metadata of TUF over them."""
