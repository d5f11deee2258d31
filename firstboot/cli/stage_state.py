"""What a stage leaves for later ones when each is a process of its own: keys and ids of encrypted devices."""

from __future__ import annotations

import base64
import json

from firstboot.apply.action import Machine


def dump(machine: Machine) -> str:
    """As JSON. It holds keys: whoever writes it keeps it from others."""
    keys = {name: base64.b64encode(key).decode() for name, key in machine.keys.items()}
    return json.dumps({"luksKeys": keys, "luksUuids": machine.luks_uuids, "made": machine.mount_points})


def load(machine: Machine, text: str) -> None:
    """What :func:`dump` wrote."""
    values = json.loads(text)
    machine.keys = {name: base64.b64decode(key) for name, key in values["luksKeys"].items()}
    machine.luks_uuids = values["luksUuids"]
    machine.mount_points = values["made"]
