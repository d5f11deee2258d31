"""Signatures of files and of images by a key that the user names: OpenPGP, minisign, and bare public keys in PEM."""
