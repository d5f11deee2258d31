"""First-boot configs on the host: compiled, checked, merged, converted, described."""
