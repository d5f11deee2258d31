"""Carrying a config out: one file a stage. Every write goes through :class:`firstboot.apply.root.Root`."""
