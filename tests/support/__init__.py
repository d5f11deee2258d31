"""What tests make by hand: hostile archives, a signed archive, a mirror on loopback, a first boot."""
