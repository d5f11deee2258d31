"""Hand over the key that opens an encrypted state partition where the TPM does not any more.

The initrd makes it, into memory, and makes another one at each boot until this has handed one over: to whom the
first-boot config names, or, without such a setting, to whoever looks at the console. It is kept nowhere on the machine.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from firstboot.apply.root import Root
from firstboot.config.lazy import import_lazily
from firstboot.log import Log
from firstboot.places import Places
from firstboot.report import show_on_console

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http import client
    from urllib import request
else:
    client = import_lazily("http.client")
    request = import_lazily("urllib.request")

KEY = "/run/build-os/recovery-key"
ESCROW = "/etc/recovery-key.json"
PENDING = "/run/state/recovery-key/pending"  # as long as the initrd is to make another one
_SECONDS = 30.0
_SCREEN = """\
build-os: the recovery key of this machine's state partition, which opens it where the TPM does not any more:

    {key}

Write it down: it is shown once, and kept nowhere on this machine.
"""


def hand_over(places: Places, log: Log) -> int:
    """Send the key where the config says, or show it; then forget it.

    Returns:
        The exit status: 0 somebody has it, or there is none; 1 nobody could be reached, so try again.
    """
    with Root(places.root) as root:
        try:
            key = root.read(KEY).decode("ascii").strip()
        except FileNotFoundError:
            return 0
        try:
            settings = json.loads(root.read(ESCROW))
        except FileNotFoundError:
            show_on_console(places, _SCREEN.format(key=key))
            to = "console"
        else:
            try:
                _send(settings, {"machine_id": _read_machine_id(root), "hostname": os.uname().nodename, "key": key})
            except (OSError, client.HTTPException) as error:
                # An error names the server and never what it was sent.
                log.complain(f"the recovery key could not be handed over: {error}")
                return 1
            to = "escrow"
        root.remove_durably(PENDING)
        root.remove_durably(KEY)
        log.note(f"the recovery key of the state partition was handed over ({to})")
    return 0


def _read_machine_id(root: Root) -> str:
    return root.read("/etc/machine-id").decode("ascii").strip()


def _send(settings: Mapping[str, object], what: Mapping[str, str]) -> None:
    """PUT it as JSON; any answer but 2xx is an error (urllib.request)."""
    url, headers = settings["url"], settings.get("headers", {})
    assert isinstance(url, str)
    assert isinstance(headers, dict)
    headers = {"Content-Type": "application/json", **headers}
    asked = request.Request(url, json.dumps(what).encode(), headers, method="PUT")
    request.urlopen(asked, timeout=_SECONDS).close()
