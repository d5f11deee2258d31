"""The provisioner as a process, fed with what is no config: an answer in seconds, and in 100 MB of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parents[2]
HEAD = "variant: fcos\nversion: 1.5.0\n"
SECONDS, MEGABYTES = 5, 100
LIMIT = 10_000_000
LAUGHS = "".join(f"l{each}: &l{each} [{', '.join([f'*l{each - 1}'] * 10)}]\n" for each in range(1, 10))
MERGES = LAUGHS.replace("[", "{<<: [").replace("]", "]}")

HOSTILE: dict[str, Callable[[], str | bytes]] = {
    "empty": lambda: "",
    "only white space": lambda: " \n" * 1000,
    "binary": lambda: os.urandom(LIMIT - 1),
    "as large as may be, of zeros": lambda: bytes(LIMIT),
    "larger than may be": lambda: "x" * (LIMIT + 1),
    "UTF-16": lambda: HEAD.encode("utf-16"),
    "NUL in the middle": lambda: f"{HEAD}hostname: a\0b\n",
    "a billion laughs": lambda: f"{HEAD}l0: &l0 [lol]\n{LAUGHS}",
    "a billion laughs of merge keys": lambda: (
        f"{HEAD}l0: &l0 {{k: v}}\n" + LAUGHS.replace("[", "{<<: [").replace("]", "]}")
    ),
    "an alias to itself": lambda: f"{HEAD}a: &a [*a]\n",
    "ten thousand levels": lambda: f"{HEAD}x: {'[' * 10_000}{']' * 10_000}\n",
    "ten thousand levels of JSON": lambda: '{"a":' * 10_000 + "1" + "}" * 10_000,
    "four thousand levels of indentation": lambda: HEAD + "".join(" " * each + "a:\n" for each in range(4000)),
    "a key twice": lambda: f"{HEAD}storage: {{}}\nstorage: {{}}\n",
    "a tag that builds objects": lambda: f"{HEAD}x: !!python/object/apply:os.system [touch /tmp/owned]\n",
    "a tag of our own": lambda: f"{HEAD}x: !include /etc/shadow\n",
    "two documents": lambda: f"{HEAD}---\n{HEAD}",
    "five thousand problems": lambda: HEAD + "".join(f"k{each}: 1\n" for each in range(5_000)) + "storage: 1\n",
}


# Says its own peak at the end: what wait4(2) tells begins with the memory of whoever started it.
PROGRAM = """
import sys
from pathlib import Path
from firstboot.__main__ import main
status = main(["check", sys.argv[1]])
sys.stderr.flush()
print(*[line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line], flush=True)
sys.exit(status)
"""


class Answer(NamedTuple):
    """How a process ended, and what the kernel counted."""

    status: int
    said: str
    seconds: float
    megabytes: float


def check(config: Path) -> Answer:
    """``python -m firstboot check``, the code that runs on the machine."""
    command = [sys.executable, "-I", "-c", PROGRAM, str(config)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    said, _, peak = said.rpartition("VmHWM:")
    return Answer(process.returncode, said, usage.ru_utime + usage.ru_stime, int(peak.split()[0]) / 1000)


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_config_is_refused_in_little_time_and_memory(
    tmp_path: Path, make: Callable[[], str | bytes]
) -> None:
    config = tmp_path / "config"
    data = make()
    config.write_bytes(data.encode() if isinstance(data, str) else data)
    answer = check(config)
    assert answer.status == 2, answer.said[:2000]
    assert answer.said.startswith(str(config)), answer.said[:2000]
    assert "Traceback" not in answer.said
    assert answer.seconds < SECONDS
    assert answer.megabytes < MEGABYTES


def test_ten_megabytes_of_files_are_read_in_as_little(tmp_path: Path) -> None:
    line = " " * 10 + "x" * 85 + "\n"
    files = "".join(
        f"    - path: /etc/app/{each}\n      contents:\n        inline: |\n{line * 50}" for each in range(2000)
    )
    config = tmp_path / "config"
    config.write_text(f"{HEAD}storage:\n  files:\n{files}", encoding="utf-8")
    answer = check(config)
    assert answer.status == 0, answer.said[:2000]
    assert answer.seconds < SECONDS
    assert answer.megabytes < MEGABYTES
