"""``recovery_key``: who is handed the recovery key of an encrypted state partition."""

from __future__ import annotations

import json
import re

from firstboot.config.buildos.models import RecoveryKey
from firstboot.config.buildos.sugar_output import SugarOutput

PATH = "/etc/recovery-key.json"  # read by firstboot.recovery_key
UNIT = "state-recovery-key.service"  # of the image
_URL = re.compile(r"https?://[^\s\"'\\]+")
_ONLINE = "[Unit]\nWants=network-online.target\nAfter=network-online.target\n"


def configure_recovery_key(output: SugarOutput) -> None:
    """A file for the image's unit, which waits for the network then."""
    key = output.find_part(RecoveryKey, ("recovery_key",))
    if key is None:
        return
    at = ("recovery_key", "url")
    if not _URL.fullmatch(key.url):
        output.complain(
            at, f"'{key.url}' is no URL that starts with https://", "like https://keys.example.org/machines"
        )
        return
    if key.url.startswith("http://"):
        output.warn(at, "the key goes through the network for everyone to read", "use https://")
    headers = {header.name: header.value for header in key.http_headers if header.value is not None}
    output.add_file(PATH, json.dumps({"url": key.url, "headers": headers}) + "\n", ("recovery_key",), mode=0o600)
    output.add_drop_in(UNIT, "50-escrow.conf", _ONLINE, ("recovery_key",))
