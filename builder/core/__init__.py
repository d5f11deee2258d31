"""What every package of the builder shares: errors, progress, the store, and the one door to other programs."""
