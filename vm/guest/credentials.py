"""System credentials: how something is told to a guest's service manager without touching its disk.

systemd reads SMBIOS type 11 strings ``io.systemd.credential.binary:NAME=BASE64`` (systemd.system-credentials(7)).
The kernels we ship can show those to it without loading a module, unlike fw_cfg.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.files import write_file
from vm.guest import probe

PROBE_UNIT = "buildos-probe.service"
PROBE_PROGRAM = "buildos.probe"
PROBE_FILE = "/etc/buildos-probe.py"
CREDENTIALS_AFTER_ALL = "systemd.import_credentials=yes"

# No default dependencies: a target waits for what it wants, and multi-user.target must not come later because of us.
# Not in the initrd, where systemd reads the same credentials.
UNIT_TEXT = """\
[Unit]
Description=build-os test probe
DefaultDependencies=no
ConditionPathExists=!/etc/initrd-release
Requires=sysinit.target
After=sysinit.target basic.target
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
%s
Restart=always
RestartSec=500ms
OOMScoreAdjust=-900
TimeoutStopSec=2s
"""
BY_CREDENTIAL = f"ImportCredential={PROBE_PROGRAM}\nExecStart=/usr/bin/python3 -I -S %d/{PROBE_PROGRAM}"
BY_FILE = f"ExecStart=/usr/bin/python3 -I -S {PROBE_FILE}"

DROPIN_TEXT = f"""\
[Unit]
Wants={PROBE_UNIT}
"""


@dataclass(frozen=True)
class Credential:
    """A system credential."""

    name: str
    value: bytes

    def make_smbios_string(self) -> str:
        """The SMBIOS type 11 string."""
        return f"io.systemd.credential.binary:{self.name}={base64.b64encode(self.value).decode('ascii')}"


def make_probe_credentials() -> tuple[Credential, ...]:
    """What makes a guest run :mod:`vm.guest.probe` (systemd-debug-generator(8) turns the first two into unit files)."""
    return (
        Credential(f"systemd.extra-unit.{PROBE_UNIT}", (UNIT_TEXT % BY_CREDENTIAL).encode()),
        Credential("systemd.unit-dropin.multi-user.target~50-buildos-probe", DROPIN_TEXT.encode()),
        Credential(PROBE_PROGRAM, Path(probe.__file__).read_bytes()),
    )


def write_credentials(credentials: Sequence[Credential], folder: Path) -> tuple[Path, ...]:
    """Write each to a file that QEMU can take it from; readable by us alone, for they may be secrets."""
    paths = []
    for number, credential in enumerate(credentials):
        path = folder / f"{number:02}"
        write_file(path, credential.make_smbios_string(), mode=0o600)
        paths.append(path)
    return tuple(paths)


def make_stub_argument() -> str:
    """An SMBIOS string that has systemd-stub(7) tell the kernel to take credentials, if its line has room for it."""
    return f"io.systemd.stub.kernel-cmdline-extra={CREDENTIALS_AFTER_ALL}"


def add_probe_to_config(config: bytes | None) -> bytes:
    """A first-boot config (Ignition) that merges ``config``, of whatever kind, and makes the guest run the probe.

    For images that take no credentials: a config is what each of them takes, once.
    """
    merged = [] if config is None else [{"source": _data_url(config)}]
    install = "\n[Install]\nWantedBy=multi-user.target\n"
    probe_file = {
        "path": PROBE_FILE,
        "mode": 0o600,
        "contents": {"source": _data_url(Path(probe.__file__).read_bytes())},
    }
    unit = {"name": PROBE_UNIT, "enabled": True, "contents": UNIT_TEXT % BY_FILE + install}
    return json.dumps(
        {
            "ignition": {"version": "3.4.0", "config": {"merge": merged}},
            "storage": {"files": [probe_file]},
            "systemd": {"units": [unit]},
        }
    ).encode()


def _data_url(data: bytes) -> str:
    return f"data:;base64,{base64.b64encode(data).decode('ascii')}"
