"""Says that it is ready and well (sd_notify(3)) until it is told to hang."""

import os
import pathlib
import socket
import time


def notify(text):
    """Tell systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(text.encode(), os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))


def main():
    """Tick at half of the watchdog's time."""
    hang = pathlib.Path(os.environ["STATE_DIRECTORY"], "hang")
    notify("READY=1\nSTATUS=ticking")
    interval = int(os.environ["WATCHDOG_USEC"]) / 2_000_000
    while True:
        time.sleep(interval)
        if hang.exists():
            hang.unlink()
            time.sleep(3600)
        notify("WATCHDOG=1")
