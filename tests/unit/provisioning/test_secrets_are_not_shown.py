"""A canary in every kind of secret, and every output that shows a config's text: it is in none of them."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.cli.configs import read_config
from builder.core.errors import BuildError
from builder.provisioning.offline import OfflinePrograms
from firstboot.apply.root import Root
from firstboot.cli.directory import run_command as firstboot
from firstboot.cli.drift import run_command as drift
from firstboot.config.document import read
from firstboot.config.origins import ConfigError
from firstboot.config.text import LocatedError, Mark, Problem, render
from firstboot.engine.attempt import Attempt
from firstboot.engine.compile import compile_all
from firstboot.engine.failure import explain
from firstboot.fetch.errors import FetchError
from firstboot.fetch.fetcher import Fetcher
from firstboot.fetch.url_text import redact_url
from firstboot.places import Places
from firstboot.platforms import Fetched
from tests.support.command import run_command
from tests.support.guest import Guest
from tests.unit.provisioning.conftest import Build

pytestmark = pytest.mark.unit

OUTPUTS = 21
CANARY = "c4n4rySings7"  # looks like nothing but what it is
URL = f"https://me:{CANARY}@[::1]:9/file"
SIGNED = f"https://[::1]:9/file?sv=1&sig={CANARY}&se=2"
OWN = "variant: buildos\nversion: 1.0.0\n"
FCOS = "variant: fcos\nversion: 1.5.0\n"
HEADERS = f"""\
storage:
  files:
    - path: /etc/x
      contents:
        source: https://[::1]:9/file
        http_headers:
          - name: Authorization
            value: Bearer {CANARY}
      mode: 0644
"""


def unit(*lines: str) -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return f"systemd:\n  units:\n    - name: a.service\n      enabled: true\n      contents: |\n{body}"


def ignition(**more: Any) -> str:
    return json.dumps({"ignition": {"version": "3.4.0"}, **more}, indent=1)


KINDS: dict[str, list[str]] = {
    "password hash of a user": [
        f"{OWN}passwd:\n  users:\n    - name: core\n      password_hash: $6${CANARY}$x\n      uid: 1001\n",
        f"{FCOS}passwd: {{users: [{{name: core, password_hash: {CANARY}, uid: 1001}}]}}\n",
        ignition(passwd={"users": [{"name": "core", "passwordHash": CANARY, "uid": 1001}]}),
    ],
    "password hash of a group": [f"{OWN}passwd:\n  groups:\n    - {{name: g, password_hash: {CANARY}, gid: 1001}}\n"],
    "inline contents": [
        f"{OWN}storage:\n  files:\n    - path: /etc/x\n      contents: {{inline: '{CANARY}'}}\n      mode: 0600\n",
        f"{FCOS}storage:\n  files:\n    - path: /etc/x\n      contents:\n        inline: |\n          a\n"
        f"          key: {CANARY}\n          {CANARY}\n      mode: 0600\n",
        f'{FCOS}storage:\n  files:\n    - path: /etc/x\n      contents:\n        inline: "a\n'
        f'          {CANARY} b\n          {CANARY}"\n      mode: 0600\n',
    ],
    "data URL": [
        f"{FCOS}storage:\n  files:\n    - path: /etc/x\n      contents:\n        source: data:,{CANARY}\n"
        "      mode: 0644\n",
        ignition(storage={"files": [{"path": "/etc/x", "contents": {"source": f"data:,{CANARY}"}, "mode": 420}]}),
        ignition(storage={"files": [{"path": "x", "contents": {"source": f"data:,{CANARY}"}}]}).replace("\n", ""),
    ],
    "HTTP header": [
        OWN + HEADERS,
        FCOS + HEADERS,
        ignition(
            storage={
                "files": [
                    {
                        "path": "/etc/x",
                        "contents": {
                            "source": "https://[::1]:9/f",
                            "httpHeaders": [{"name": "X-Auth", "value": CANARY}],
                        },
                    }
                ]
            }
        ),
        f"{OWN}ignition:\n  config:\n    merge:\n      - source: http://[::1]:9/a\n"
        f"        http_headers: [{{name: X-Key, value: {CANARY}}}]\n",
    ],
    "password in a URL": [
        f"{OWN}storage:\n  files:\n    - path: /etc/x\n      contents: {{source: '{URL}'}}\n      mode: 0644\n",
        f"{FCOS}ignition:\n  config:\n    replace: {{source: '{URL}'}}\n",
        ignition(ignition={"version": "3.4.0", "config": {"merge": [{"source": URL}]}}),
        f"{OWN}storage:\n  files:\n    - path: /etc/x\n      contents: {{source: 'https://me:{CANARY}@Ho st:port/'}}\n",
    ],
    "signature in a URL": [
        f"{OWN}storage:\n  files:\n    - path: /etc/x\n      contents: {{source: '{SIGNED}'}}\n      mode: 0644\n",
        ignition(storage={"files": [{"path": "/etc/x", "contents": {"source": SIGNED}}]}),
        f"{FCOS}storage:\n  luks:\n    - name: d\n      device: /dev/vdb\n      key_file: {{source: '{SIGNED}'}}\n",
    ],
    "password of a proxy": [
        f"{FCOS}ignition:\n  proxy:\n    http_proxy: http://me:{CANARY}@proxy:3128\n    no_proxy: [a]\n",
        ignition(ignition={"version": "3.4.0", "proxy": {"httpsProxy": f"http://{CANARY}@p:1", "noProxy": ["a"]}}),
    ],
    "Environment= of a unit": [
        OWN + unit("[Service]", f"Environment=DB_PASSWORD={CANARY}", "ExecStart=/usr/bin/nope", "[Install]", "Wants=a"),
        OWN + unit("[Service]", "Environment=A=b \\", f"  DB={CANARY}", f"Environment={CANARY}", "ExecStart=/bin/cat"),
        OWN + unit("[Service]", f'Environment="A=b c" "DB={CANARY}"', "ExecStart=/bin/cat", "Restrat=always"),
        ignition(
            systemd={
                "units": [
                    {
                        "name": "a.service",
                        "contents": f"[Service]\nEnvironment=URL={CANARY}\nExecStart=/usr/bin/nope\n[Install\n",
                        "enabled": True,
                    }
                ]
            }
        ),
    ],
    "SetCredential= of a unit": [OWN + unit("[Service]", f"SetCredential=db:{CANARY}", "ExecStart=/usr/bin/nope")],
    "password in a command of a unit": [
        OWN + unit("[Service]", f"ExecStart=/usr/bin/nope --password {CANARY} --api-token={CANARY}"),
        OWN + unit("[Service]", f"ExecStart=/usr/bin/nope {URL} {SIGNED}"),
    ],
    "variable of a container": [
        f"{OWN}containers:\n  - name: web\n    image: a/b:1\n    environment:\n      DB: {CANARY}\n      1x: {CANARY}\n"
        "    ports: ['80:80']\n",
        f"{OWN}containers: [{{name: web, image: a/b:1, environment: {{DB: {CANARY}}}, restart: 1}}]\n",
    ],
    "config of a clevis pin": [
        f"{FCOS}storage:\n  luks:\n    - name: d\n      device: /dev/vdb\n      clevis:\n        custom:\n"
        f'          pin: tang\n          config: \'{{"key": "{CANARY}"\'\n          needs_network: true\n',
    ],
    "key file of an encrypted device": [
        f"{FCOS}storage:\n  luks:\n    - name: d\n      device: /dev/vdb\n      key_file:\n        inline: {CANARY}\n",
    ],
    "kernel argument": [
        f"{FCOS}kernel_arguments:\n  should_exist:\n    - systemd.set_credential=db:{CANARY}\n"
        f"    - a.password={CANARY}\n    - a b\n",
        f"{FCOS}kernel_arguments:\n  should_exist:\n    - systemd.set_credential=db:{CANARY}\n    - quiet\n",
    ],
    "mount option": [
        f"{FCOS}storage:\n  filesystems:\n    - device: /dev/vdb\n      format: ext4\n      path: /var/x\n"
        f"      mount_options: ['password={CANARY}']\n      wipe_filesystem: true\n",
    ],
    "private key": [
        f"{OWN}storage:\n  files:\n    - path: /etc/k\n      contents:\n        inline: |\n"
        f"          -----BEGIN OPENSSH PRIVATE KEY-----\n          {CANARY}\n"
        "          -----END OPENSSH PRIVATE KEY-----\n",
    ],
    "comment": [f"{OWN}hostname: a  # the old token: {CANARY}\npasswd: {{}}\n"],
}


def mutations(text: str) -> Iterator[str]:
    """The text, and wrong ones: an error at or beside each of its lines."""
    yield text
    lines = text.split("\n")
    is_json = text.startswith("{")
    head = 0 if is_json else 2
    for index in range(head, len(lines)):
        line = lines[index]
        if not line.strip():
            continue
        key, colon, rest = line.partition(":")
        made = [line + " : [", line + "}", "\t" + line, line.replace("'", "", 1), line.replace('"', "", 1)]
        if colon:
            made += [f"{key}q:{rest}", f"{line}\n{line}", f"{key}: [1, 2]", f"{key}: {rest.strip()} x: y"]
        if "{" in line and not is_json:
            made.append(line.replace("{", "{wrong: 1, ", 1))
        if line.rstrip().endswith(("}", "]")) and not is_json:
            made.append(line.rstrip()[:-1])
        indent = line[: len(line) - len(line.lstrip())]
        made += [f"{indent}wrong: 1\n{line}", f"{line}\n{indent}wrong: 1", f"{line}\n{indent}  odd", f" {line}"]
        for each in dict.fromkeys(made):
            if each != line:
                yield "\n".join([*lines[:index], each, *lines[index + 1 :]])


class Outputs:
    """What all who show something of a config say."""

    def __init__(self, directory: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.image = image
        self.capsys = capsys
        self.path = directory / "machine.yaml"
        self.count = 0

    def of(self, text: str) -> dict[str, str]:
        self.path.write_text(text)
        found = {}
        for name, words in {
            "config check": ("config", "check"),
            "config check --json": ("config", "check", "--json"),
            "config check --image": ("config", "check", "--image", str(self.image)),
            "config check --image --json": ("config", "check", "--json", "--image", str(self.image)),
            "config plan": ("config", "plan", "--image", str(self.image)),
            "config plan --json": ("config", "plan", "--json", "--image", str(self.image)),
        }.items():
            outcome = run_command(self.capsys, *words, str(self.path))
            found[name] = outcome.out + outcome.err
        # Its result is the config itself.
        found["config compile"] = run_command(self.capsys, "config", "compile", str(self.path)).err
        try:
            found["check --config, run, pytest"] = "\n".join(read_config(self.path).warnings)
        except BuildError as error:
            found["check --config, run, pytest"] = str(error)
        found |= self._applied()
        found |= self._of_commands()
        found |= self._of_a_boot(text)
        return found

    def _fresh(self, name: str) -> Path:
        self.count += 1
        root = self.directory / f"{name}{self.count}"
        for each in ("etc/systemd/system", "var/lib", "run", "usr/lib/systemd/system"):
            (root / each).mkdir(parents=True)
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\n")
        (root / "usr/lib/os-release").write_text("IMAGE_ID=demo\nIMAGE_VERSION=1\n")
        return root

    def _applied(self) -> dict[str, str]:
        """On the host into a directory; then what the machine itself says of it."""
        root = self._fresh("applied")
        outcome = run_command(self.capsys, "config", "apply", "--root", str(root), str(self.path))
        found = {"config apply --root": outcome.out + outcome.err}
        with Root(root) as door:
            places = Places(root, OfflinePrograms.make(door))
            unit_file = root / "etc/systemd/system/a.service"
            if unit_file.exists():
                unit_file.write_text(unit_file.read_text().replace(CANARY, CANARY + "x") + "# changed\n")
            for words in (
                ("status",),
                ("status", "--json"),
                ("diff",),
                ("diff", "--json"),
                ("apply", "--check", "--timeout", "1"),
            ):
                self.capsys.readouterr()
                drift([*words], places)
                found[f"firstboot {' '.join(words[:2])}"] = "".join(self.capsys.readouterr())
        return found

    def _of_commands(self) -> dict[str, str]:
        found = {}
        for words in (["check"], ["plan", "--root", str(self._fresh("plan"))]):
            self.capsys.readouterr()
            firstboot([*words, str(self.path)])
            found[f"firstboot {words[0]}"] = "".join(self.capsys.readouterr())
        return found

    def _of_a_boot(self, text: str) -> dict[str, str]:
        root = self.directory / f"boot{self.count}"
        (root / "etc").mkdir(parents=True)
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\n")
        with Root(root) as door:
            guest = Guest(root, OfflinePrograms.make(door))
            guest.give(text)
            path = root / "run/systemd/journal/socket"
            path.parent.mkdir(parents=True)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
                listening.bind(str(path))
                listening.setblocking(False)
                guest.boot()
                journal = b""
                with contextlib.suppress(BlockingIOError):
                    journal = listening.recv(1 << 18)
        kept = [
            root / "run/firstboot/result.json",
            root / "run/firstboot/failure.txt",
            root / "var/lib/firstboot/result.json",
        ]
        return {
            "console": guest.console(),
            "journal entry": journal.decode("utf-8", "replace"),
            "virtio port (run, pytest)": json.dumps(guest.events()),
            "log (journal of the initrd)": guest.log,
            "result.json and failure": "".join(each.read_text() for each in kept if each.is_file()),
        }


@pytest.fixture
def outputs(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Outputs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.sync", lambda: None)
    monkeypatch.setattr(Fetcher, "_download", nobody_answers)
    return Outputs(tmp_path, build(), capsys)


def nobody_answers(self: Any, url: str, *_: object) -> None:
    self._say(f"GET {redact_url(url)}")
    raise FetchError(f"GET {redact_url(url)}: no connection to {url}")


DOCUMENTS = [
    pytest.param(text, id=f"{kind} {number}") for kind, texts in KINDS.items() for number, text in enumerate(texts)
]


@pytest.mark.parametrize("text", DOCUMENTS)
def test_no_output_shows_it(outputs: Outputs, text: str) -> None:
    wrong = [each for index, each in enumerate(mutations(text)) if index % 60 == 7]
    for each in (text, *wrong):
        found = outputs.of(each)
        assert len(found) == OUTPUTS
        leaks = {name: said for name, said in found.items() if CANARY in said}
        assert not leaks, f"{each}\n{leaks}"


@pytest.mark.parametrize("text", DOCUMENTS)
def test_no_mistake_beside_it_shows_it(text: str) -> None:
    count = 0
    for each in mutations(text):
        for error in complaints(each):
            failure = explain(error, Attempt({}))
            said = f"{failure.text}\n{failure.screen}\n{failure.problems}"
            assert CANARY not in said, f"{each}\n{said}"
            count += 1
    assert count > 10


def complaints(text: str) -> Iterator[Exception]:
    """What is wrong with it, and what is worth a warning."""
    try:
        loaded = compile_all([Fetched("machine.yaml", text.encode())])
    except (LocatedError, ConfigError) as error:
        yield error
        return
    if loaded.warnings:
        yield ConfigError(loaded.warnings)


def test_what_is_no_secret_is_shown() -> None:
    text = OWN + unit("[Service]", "ExecStart=/usr/bin/nope --port 80", "LoadCredential=db:/etc/db")
    located = read(text + "hostnam: a\n", "m.yaml").located
    for line, column in ((8, 9), (9, 9), (10, 9)):
        marked = located._replace(marks={**located.marks, ("x",): Mark(line, column)})
        drawn = render(marked, [Problem(("x",), "see https://example.org/a/b:latest and oci://h/n@sha256:0a, 'x'")])
        assert text.split("\n")[line - 1].strip() in drawn
        assert "(not shown)" not in drawn
