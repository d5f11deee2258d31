"""How long a service of a machine does not answer."""

from __future__ import annotations

import threading
import time
import urllib.request
from http.client import HTTPException
from itertools import pairwise

from vm.machine import Machine


class Asker:
    """Asks a port of the machine all the time, and knows how long nobody answered."""

    def __init__(self, machine: Machine, port: int) -> None:
        self.machine = machine
        self.url = f"http://127.0.0.1:{machine.forward(port)}/"
        self.answers: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        while not self._stop.wait(0.1):
            try:
                with urllib.request.urlopen(self.url, timeout=2) as answer:
                    answer.read()
                self.answers.append(time.monotonic())
            except (OSError, HTTPException):  # it is cut off in the middle
                continue

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, count: int) -> None:
        """Until so many more answers have come."""
        wanted = len(self.answers) + count
        while len(self.answers) < wanted:
            assert self.machine.deadline.remaining > 0, f"no answer from {self.url}"
            self._stop.wait(0.1)

    @property
    def gap(self) -> float:
        """The longest time between two answers, in seconds."""
        return max(after - before for before, after in pairwise(self.answers))
