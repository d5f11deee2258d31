"""An image whose definition lets in some credentials of the platform, and extensions that are signed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.build import BuildRequest, build_extension
from builder.core.console import QuietConsole
from builder.core.image import Image, read_image
from builder.outputs.ddi import Ddi, make_ddi
from builder.outputs.signing import Signer
from tests.support.machines import build_text
from update.gpt import HEAD, parse_gpt
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
EXTENSION = """\
kind: extension
name: store
of: os.yaml
description: Keys and values.
packages: [redis-server]
"""
CONFIGURATION = """\
kind: extension
name: company
of: os.yaml
type: confext
description: The company's proxy.
overlays: [company]
"""
NAME, CONFEXT = "store_1.0.0.raw", "company_1.0.0.raw"
RELEASE = "usr/lib/extension-release.d/extension-release"
EVIL = "[Service]\nType=oneshot\nExecStart=/usr/bin/true\n"
HANDED = (
    Credential("web.token", b"t0ken"),
    Credential("app.key", b"\0key"),
    Credential("other.token", b"not asked for"),
    Credential("systemd.extra-unit.evil.service", EVIL.encode()),
)


@pytest.fixture(scope="module")
def extensible(key_pair: KeyPair, store: Store) -> Image:
    trust = OUT / "overlays/trusted/usr/lib/verity.d"
    trust.mkdir(parents=True, exist_ok=True)
    (trust / "tests.crt").write_bytes(key_pair.certificate.read_bytes())
    return read_image(build_text(DEFINITION, OUT, store))


@pytest.fixture(scope="module")
def extension(extensible: Image, key_pair: KeyPair, store: Store) -> Path:
    """An extension for just this image, signed."""
    definition, out = OUT / "store.yaml", OUT / "extension"
    definition.write_text(EXTENSION)
    with closing(QuietConsole(out / "build.log")) as console:
        build_extension(BuildRequest(definition, out, store, console, key_pair=key_pair))
    return out / NAME


@pytest.fixture(scope="module")
def confext(
    extensible: Image, key_pair: KeyPair, store: Store, tools: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """One of files of ``/etc``. It is built unsigned, which the store makes quick, and signed as a build does it."""
    definition, out = OUT / "company.yaml", OUT / "confext"
    definition.write_text(CONFIGURATION)
    proxy = OUT / "overlays/company/etc/company/proxy"
    proxy.parent.mkdir(parents=True, exist_ok=True)
    proxy.write_text("http://proxy.example\n")
    with closing(QuietConsole(out / "build.log")) as console:
        tree = build_extension(BuildRequest(definition, out, store, console, with_tree=True)).tree
    assert tree is not None
    scratch = tmp_path_factory.mktemp("confext")
    image = scratch / CONFEXT
    make_ddi(tree, Ddi("company_1.0.0", extensible.arch, "lz4"), tools, scratch, image, Signer(key_pair, 0))
    return image


@pytest.fixture(scope="module")
def machine(
    extensible: Image,
    extension: Path,
    confext: Path,
    tools: Tools,
    store: Store,
    vm_accel: Verdict,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machine]:
    room = tmp_path_factory.mktemp("machine")
    home = MachineFolder(room / "machine")
    spec = plan_machine(
        extensible,
        home,
        vm_accel.accel,
        MachineRequest(boot="kernel", memory=1024, net="none", media=[extension, confext]),
    )
    # The probe comes with the config, as to a signed image: nobody tells this one to take all that it is handed.
    assert spec.takes is Credentials.IF_TOLD
    spec = replace(spec, takes=Credentials.REFUSED, credentials=write_credentials(HANDED, room / "credentials"))
    deadline = Deadline(400, choose_timeout_scale(vm_accel.accel, os.environ))
    with Machine(spec, tools, deadline, folder=home.root, store=store) as started:
        started.wait_firstboot()
        started.wait_unit("multi-user.target")
        yield started


def merge(machine: Machine) -> bool:
    """Have systemd look again, however often it was asked to; whether it could."""
    machine.run("systemctl reset-failed systemd-sysext.service")
    return machine.run("systemctl restart systemd-sysext.service").status == 0


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
    assert not merge(machine)
    assert "is a directory" in machine.succeed("journalctl -b -o cat -u systemd-sysext.service")
    machine.succeed("mkfs.ext4 -q -d /var/lib/extensions/evil /var/lib/extensions/evil.raw 4M")
    machine.succeed("rm -r /var/lib/extensions/evil")
    merge(machine)
    machine.fail("test -e /usr/evil")
    machine.succeed("rm /var/lib/extensions/evil.raw")


@pytest.mark.parametrize(("kind", "offset"), [("root", 1024), ("root-verity-sig", 20)])
def test_a_changed_extension_is_not_merged(machine: Machine, extension: Path, kind: str, offset: int) -> None:
    """In the superblock of its file system, or in what its signature signs. What the kernel says of a changed block
    that it reads later, the harness takes for the machine's end."""
    with extension.open("rb") as file:
        place = next(row for row in parse_gpt(file.read(HEAD)) if row.type == kind).start + offset
    target = f"/var/lib/extensions/{NAME}"
    machine.succeed("sh", "-c", f"cat /dev/vdb > {target}")
    machine.succeed("sh", "-c", f"printf 0123456789abcdef | dd of={target} bs=1 conv=notrunc seek={place}")
    merge(machine)
    machine.fail("test -e /usr/bin/redis-cli")
    machine.succeed(f"rm {target}")


def test_an_extension_for_another_version_is_passed_over(machine: Machine) -> None:
    machine.succeed("sh", "-c", "sed s/_1.0.0$/_0.9/ /usr/lib/os-release > /run/os-release")
    machine.succeed("sh", "-c", f"cat /dev/vdb > /var/lib/extensions/{NAME}")
    machine.succeed("mount", "--bind", "/run/os-release", "/usr/lib/os-release")
    assert merge(machine)
    machine.fail("test -e /usr/bin/redis-cli")
    machine.succeed("umount", "/usr/lib/os-release")


def test_an_extension_that_is_signed_is_merged_and_its_service_runs(machine: Machine) -> None:
    system = "find /usr -xdev -path /usr/lib/build-os/extensions -prune -o -type f -printf '%p %m %s\\n' | sort"
    before = set(machine.succeed("sh", "-c", system).splitlines())
    machine.succeed("sh", "-c", f"cat /dev/vdb > /var/lib/extensions/{NAME}")
    machine.reboot()
    machine.wait_unit("multi-user.target")
    machine.wait_unit("redis-server.service")
    assert machine.succeed("sh", "-c", "redis-cli set who me && redis-cli get who").split() == ["OK", "me"]
    assert machine.succeed("stat -c %U:%a /etc/redis/redis.conf /var/lib/redis").split() == ["redis:640", "redis:750"]
    # What the system has is as it was, and cannot be written.
    assert before - set(machine.succeed("sh", "-c", system).splitlines()) == set()
    machine.fail("touch /usr/bin/mine")
    machine.succeed("systemctl stop redis-server.service systemd-sysext.service")
    machine.fail("test -e /usr/bin/redis-cli")


def test_a_confext_that_is_signed_is_merged_and_one_that_nobody_signed_is_not(machine: Machine) -> None:
    target = f"/var/lib/confexts/{CONFEXT}"
    machine.succeed("sh", "-c", f"mkdir -p /var/lib/confexts && cat /dev/vdc > {target}")
    machine.succeed("systemctl restart systemd-confext.service")
    assert machine.read("/etc/company/proxy") == "http://proxy.example\n"
    # What the machine had in /etc is seen through it, and nobody can write there meanwhile.
    machine.succeed("test -s /etc/machine-id")
    machine.fail("touch /etc/mine")
    machine.succeed("systemctl stop systemd-confext.service")
    machine.succeed(f"mv {target} /run")
    machine.fail("test -e /etc/company")
    machine.succeed("touch /etc/mine")
    machine.succeed("mkdir -p /run/plain/etc/company /run/plain/etc/extension-release.d")
    machine.write("/run/plain/etc/extension-release.d/extension-release.plain", "ID=_any\n")
    machine.write("/run/plain/etc/company/proxy", "http://evil.example\n")
    machine.succeed("mkfs.ext4 -q -d /run/plain /var/lib/confexts/plain.raw 4M")
    machine.run("systemctl restart systemd-confext.service")
    machine.fail("test -e /etc/company")
    machine.succeed("rm /var/lib/confexts/plain.raw")
