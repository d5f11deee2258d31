"""Python environments of an image: wheels, locked by hash, and unpacked as pip would leave them."""
