"""Signatures by a key that the user names: OpenPGP, minisign and PEM are checked, PKCS #7 is made; and by commands."""
