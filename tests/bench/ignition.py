"""The provisioner and Debian's Ignition on the same rows: whole disks, by the original's own command line.

Needs root, loop devices, what handles disks, the recorded rows beside the project, and Debian's package ``ignition``:
installed, or unpacked anywhere, with the path of its program in ``$IGNITION``. As Debian builds it, it waits until
systemd says that a device is there, and labels files for SELinux; both get a stand-in.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.recorded import OUTSIDE

REPOSITORY = Path(__file__).parents[2]
THEIRS = Path(os.environ.get("IGNITION", "/usr/lib/dracut/modules.d/30ignition/ignition"))  # Debian's place
NEWEST = (3, 3)  # of the specifications that Ignition 2.14 reads
# Rows that only wait: for devices and servers that never come.
PATIENT = re.compile(r"cmdline\.device\.notfound|timeouts\.(http|file\.create\.http\.timesout)$")


def measure() -> None:
    """Run the rows by both, and print how many pass, what that takes, and how large each is."""
    vectors = OUTSIDE / "vectors" / "blackbox.json"
    if not vectors.exists():
        print(f"no comparison with Ignition: {vectors} is not there")
        return
    recorded = json.loads(vectors.read_text())
    rows = recorded["tests"]
    wanted = [f"{row['kind']}/{row['name']}" for row in rows if comparable(row)]
    print(f"recorded rows of specifications up to {NEWEST[0]}.{NEWEST[1]} ({len(wanted)}), by each")
    with tempfile.TemporaryDirectory() as directory:
        stubs = Path(directory)
        for name in ("useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel"):
            (stubs / name).symlink_to(REPOSITORY / "tests" / "conformance" / "shadow_stub.py")
        # Debian's labels files for SELinux, always: it gets a policy that is off, and so do we.
        (stubs / "setfiles").symlink_to(shutil.which("true") or "/bin/true")
        for row in rows:
            with_selinux_off(row)
        changed = stubs / "vectors.json"
        changed.write_text(json.dumps(recorded))
        ours = sum(path.stat().st_size for path in (REPOSITORY / "firstboot").rglob("*.py"))
        show("build-os", f"{sys.executable} -m firstboot", wanted, stubs)
        print(f"    {ours / 1e6:.1f} MB of source, and Python with yaml")
        if THEIRS.exists():
            show("ignition", str(THEIRS), wanted, stubs)
            print(f"    {THEIRS.stat().st_size / 1e6:.1f} MB, one program")
        else:
            print("  ignition is not installed")


def comparable(row: dict[str, Any]) -> bool:
    """Whether the row's specification is one that both read, and it does more than wait."""
    major, minor = row["configVersion"].split("-")[0].split(".")[:2] if row["configVersion"] else ("3", "0")
    return (int(major), int(minor)) <= NEWEST and not PATIENT.search(row["name"])


def with_selinux_off(row: dict[str, Any]) -> None:
    """Have ``/etc/selinux/config`` on the row's root."""
    node = {"directory": "etc/selinux", "user": 0, "group": 0, "mode": 0o644}
    text = "SELINUX=disabled\nSELINUXTYPE=targeted\n"
    for disk in row["in"]:
        for partition in disk["partitions"]:
            if partition["label"] == "ROOT" and not partition["filesystemImage_base64_bzip2"]:
                below = {**node, "directory": "etc/selinux/targeted/contexts/files"}
                partition["files"].append({**node, "name": "config", "contents": text})
                partition["files"].append({**below, "name": "file_contexts", "contents": ""})


def show(title: str, provisioner: str, wanted: list[str], stubs: Path) -> None:
    """One provisioner on all rows that this machine can run."""
    results, seconds_log = stubs / f"{title}.json", stubs / f"{title}.seconds"
    charged = f"{sys.executable} {Path(__file__).with_name('charged.py')} {seconds_log}"
    command = [
        *("unshare", "--mount", sys.executable, str(Path(__file__).with_name("stand_in_systemd.py"))),
        sys.executable,
        str(OUTSIDE / "run_vectors.py"),
        f"--vectors={stubs / 'vectors.json'}",
        f"--provisioner={charged} {provisioner}",
        f"--filter=^({'|'.join(map(re.escape, wanted))})$",
        f"--out={results}",
        "--skip-unfeasible",
    ]
    environment = {**os.environ, "PATH": f"{stubs}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not results.exists():
        print(f"  {title}: cannot be run here: {done.stderr.strip().splitlines()[-1:]}")
        return
    outcome = json.loads(results.read_text())
    failed = [each["name"] for each in outcome if each["result"] != "PASS"]
    if not seconds_log.exists():
        print(f"  {title}: no row can be run here")
        return
    seconds = [float(each) for each in seconds_log.read_text().split()]
    passed = f"{len(outcome) - len(failed):4} of {len(outcome)} pass"
    each = 1000 * sum(seconds) / len(seconds)
    print(f"  {title:<34} {passed}; {sum(seconds):.1f} CPU s, {len(seconds)} stages of {each:.0f} ms", flush=True)
    for name in failed:
        print(f"    {name} does not")
