"""Container images: made, read and checked by the OCI image specification, and put into a store that podman reads."""
