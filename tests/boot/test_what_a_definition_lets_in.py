"""An image whose definition lets in some credentials of the platform, and extensions that are signed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.image import read_image
from tests.support.machines import build_text
from vm.guest.credentials import Credential, write_credentials
from vm.machine import Machine
from vm.spec import Credentials
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest
from vm.waiting.deadline import Deadline, choose_timeout_scale

if TYPE_CHECKING:
    from builder.core.store import Store
    from builder.core.tools import Tools
    from builder.outputs.signing import KeyPair
    from vm.accel.choice import Verdict

pytestmark = pytest.mark.boot

OUT = Path(__file__).parents[2] / "out/boot-tests/lets-in"
DEFINITION = """\
name: lets-in
version: 1.0.0
features: [base, extensions]
overlays: [trusted]
credentials: [web.token, "app.*"]
"""
RELEASE = "usr/lib/extension-release.d/extension-release"
EVIL = "[Service]\nType=oneshot\nExecStart=/usr/bin/true\n"
HANDED = (
    Credential("web.token", b"t0ken"),
    Credential("app.key", b"\0key"),
    Credential("other.token", b"not asked for"),
    Credential("systemd.extra-unit.evil.service", EVIL.encode()),
)


@pytest.fixture(scope="module")
def extension(tools: Tools, key_pair: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed image with one file, as systemd-repart makes it."""
    room = tmp_path_factory.mktemp("extension")
    tree = room / "tree"
    (tree / RELEASE).parent.mkdir(parents=True)
    (tree / f"{RELEASE}.good").write_text("ID=_any\n")
    (tree / "usr/share").mkdir()
    (tree / "usr/share/good").write_text("signed\n")
    keys = (f"--private-key={key_pair.key}", f"--certificate={key_pair.certificate}")
    tools.run("systemd-repart", "--make-ddi=sysext", f"--copy-source={tree}", *keys, room / "good.raw")
    return room / "good.raw"


@pytest.fixture(scope="module")
def machine(
    extension: Path,
    key_pair: KeyPair,
    tools: Tools,
    store: Store,
    vm_accel: Verdict,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machine]:
    trust = OUT / "overlays/trusted/usr/lib/verity.d"
    trust.mkdir(parents=True, exist_ok=True)
    (trust / "tests.crt").write_bytes(key_pair.certificate.read_bytes())
    image = read_image(build_text(DEFINITION, OUT, store))
    room = tmp_path_factory.mktemp("machine")
    home = MachineFolder(room / "machine")
    spec = plan_machine(
        image, home, vm_accel.accel, MachineRequest(boot="kernel", memory=1024, net="none", media=[extension])
    )
    # The probe comes with the config, as to a signed image: nobody tells this one to take all that it is handed.
    assert spec.takes is Credentials.IF_TOLD
    spec = replace(spec, takes=Credentials.REFUSED, credentials=write_credentials(HANDED, room / "credentials"))
    deadline = Deadline(400, choose_timeout_scale(vm_accel.accel, os.environ))
    with Machine(spec, tools, deadline, folder=home.root, store=store) as started:
        started.wait_firstboot()
        started.wait_unit("multi-user.target")
        yield started


def test_a_service_gets_the_credentials_that_the_definition_names_and_no_others(machine: Machine) -> None:
    assert sorted(machine.succeed("ls /run/credstore").split()) == ["app.key", "web.token"]
    assert machine.succeed("stat -c %a:%U /run/credstore /run/credstore/web.token").split() == ["700:root", "400:root"]
    run = ("systemd-run", "--quiet", "--wait", "--pipe")
    load = ("-p", "LoadCredential=web.token:web.token", "-p", "ImportCredential=app.*")
    show = "cat $CREDENTIALS_DIRECTORY/web.token; echo; ls $CREDENTIALS_DIRECTORY"
    assert machine.succeed(*run, *load, "sh", "-c", show).split() == ["t0ken", "app.key", "web.token"]
    # What is not there is left out; the service starts.
    unnamed = 'test ! -e "$CREDENTIALS_DIRECTORY/other.token"'
    machine.succeed(*run, "-p", "LoadCredential=other.token:other.token", "sh", "-c", unnamed)


def test_a_credential_that_would_be_a_unit_is_none(machine: Machine) -> None:
    assert machine.unit("evil.service")["LoadState"] == "not-found"
    assert machine.fail("ls /run/credentials/@system").status == 2


def test_an_extension_that_nobody_signed_is_not_merged(machine: Machine) -> None:
    machine.succeed("mkdir", "-p", f"/var/lib/extensions/evil/{RELEASE.rpartition('/')[0]}")
    machine.write(f"/var/lib/extensions/evil/{RELEASE}.evil", "ID=_any\n")
    machine.write("/var/lib/extensions/evil/usr/evil", "unsigned\n")
    machine.fail("systemctl restart systemd-sysext.service")
    assert "is a directory" in machine.succeed("journalctl -b -o cat -u systemd-sysext.service")
    machine.succeed("mkfs.ext4 -q -d /var/lib/extensions/evil /var/lib/extensions/evil.raw 4M")
    machine.succeed("rm -r /var/lib/extensions/evil")
    machine.run("systemctl restart systemd-sysext.service")
    machine.fail("test -e /usr/evil")
    machine.succeed("rm /var/lib/extensions/evil.raw")


def test_an_extension_that_is_signed_is_merged(machine: Machine) -> None:
    machine.succeed("sh", "-c", "cat /dev/vdb > /var/lib/extensions/good.raw")
    machine.succeed("systemctl restart systemd-sysext.service")
    assert machine.read("/usr/share/good") == "signed\n"
    machine.succeed("systemctl stop systemd-sysext.service")
    machine.fail("test -e /usr/share/good")
