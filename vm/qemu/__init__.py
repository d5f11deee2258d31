"""QEMU: its command line, its start, its monitor, its snapshots."""
