"""A whole first boot in a directory: a machine with a config, whose console and result can be read afterwards."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from firstboot.apply.programs import Programs
from firstboot.engine.provision import run
from firstboot.fetch.connector import Connector
from firstboot.log import Log
from firstboot.places import Places


class Guest:
    """A machine in a directory, with fw_cfg, a console, a virtio-serial port and a journal.

    Args:
        outside: its way to other machines.
    """

    def __init__(self, root: Path, programs: Programs, outside: Connector | None = None) -> None:
        self.root = root
        self.programs: Any = programs
        self.places = Places(root, programs, Connector() if outside is None else outside)
        self.log = ""
        for directory in ("sys/firmware/qemu_fw_cfg", "proc", "dev", "var", "run/state", "usr/lib"):
            (root / directory).mkdir(parents=True)
        (root / "usr/lib/os-release").write_text('NAME=x\nIMAGE_ID="demo"\nIMAGE_VERSION=1.2.3\n')
        (root / "dev/console").touch()
        port = root / "sys/class/virtio-ports/vport1p2"
        port.mkdir(parents=True)
        (port / "name").write_text("org.buildos.firstboot.0\n")
        (root / "dev/vport1p2").touch()

    def give(self, text: str | bytes, key: str = "opt/com.coreos/config") -> None:
        entry = self.root / "sys/firmware/qemu_fw_cfg/by_name" / key
        entry.mkdir(parents=True, exist_ok=True)
        data = text.encode() if isinstance(text, str) else text
        (entry / "raw").write_bytes(data)
        (entry / "size").write_text(f"{len(data)}\n")

    def base(self, name: str, text: str) -> None:
        directory = self.root / "usr/lib/firstboot/base.d"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)

    def boot(self) -> int:
        stream = io.StringIO()
        try:
            return run(self.places, Log(stream, priorities=False))
        finally:
            self.log = stream.getvalue()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "dev/vport1p2").read_text().splitlines()]

    def console(self) -> str:
        return (self.root / "dev/console").read_text()

    def result(self) -> dict[str, Any]:
        """What the boot left for programs."""
        found: dict[str, Any] = json.loads((self.root / "run/firstboot/result.json").read_text())
        return found

    @property
    def marker(self) -> Path:
        return self.root / "run/state/firstboot/complete"
