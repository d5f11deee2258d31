"""What the host's client of registries and the guest's have in common; standard library only, for the guest's sake."""
