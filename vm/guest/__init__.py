"""What a machine says and is asked: its console, its first boot, and the probe that runs in it."""
