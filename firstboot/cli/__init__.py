"""The commands of ``python3 -m firstboot``: thin fronts of :mod:`firstboot.engine` and :mod:`firstboot.drift`."""
