"""Kernel arguments of one machine, beside those inside its kernel image: an addon that the image's EFI stub reads."""
