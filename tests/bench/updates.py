"""A version on its way to a machine, beside Debian's swupdate and RAUC, and systemd-sysupdate by itself.

The same root, hash tree and kernel image come from a web server on loopback, and end in files in the place of
partitions. All programs run in a tree of Debian's packages, ours on its Python, as on a machine. Ours downloads,
verifies and unpacks what ``build-os publish`` has made; then systemd-sysupdate writes it, as on a machine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.core.store import Store
from builder.core.tools import Tools
from tests.bench.measuring import Run, measured_apart, show
from tests.support.debian_programs import open_programs
from tests.support.machines import build_text
from tests.support.payloads import read_parts
from vm.fakes.web import HttpRequest, Reply, WebServer

REPOSITORY = Path(__file__).parents[2]
# Two versions differ in nothing but their number; what deltas of changed packages take, docs/publishing.md says.
DEFINITION = """\
name: bench
version: "{version}"
features: [base, updates]
outputs: [raw, update]
disk: {{size: 3G, esp: 260M, slot: 600M}}
"""
VERSIONS = ("1", "2")
DEBIANS = (
    "base-files",
    "cpio",
    "curl",
    "openssl",
    "python3",
    "python3-requests",
    "python3-tuf",
    "python3-yaml",
    "rauc",
    "squashfs-tools",
    "swupdate",
    "systemd-container",
    "xz-utils",
    "zstd",
)
AGENT = """\
import sys
from pathlib import Path
import certifi
# The tree has no authorities, and nobody has a certificate here; requests wants to read some all the same.
certifi.where = lambda: sys.argv[1]
sys.path.insert(0, sys.argv[2])
from update.agent.fetcher import Limits
from update.agent.host import Host
from update.agent.identity import read_identity
from update.agent.payload import unpack
from update.agent.registry import make_fetcher
from update.agent.repository import Repository
from update.agent.settings import read_settings
host = Host(Path(sys.argv[3]))
url = read_settings(host).url
old = {path.name: path for path in map(Path, sys.argv[4:])}
repository = Repository(host, url, read_identity(host), make_fetcher(host, url, Limits()))
release, directory = repository.open_release("2")
repository.download(release, directory, old, print)
unpack(host, release, directory)
"""
TRANSFER = """\
[Transfer]
Verify=no
[Source]
Type={kind}
Path={source}
MatchPattern={pattern}
[Target]
Type=regular-file
Path={target}
MatchPattern=bench_@v.{part}
InstancesMax=2
"""


class Server:
    """A directory on loopback, and how many bytes of it were sent."""

    def __init__(self, directory: Path, web: WebServer) -> None:
        self.directory, self.sent = directory, 0
        web.fallback = self._answer
        self.url = web.url("").rstrip("/")

    def _answer(self, request: HttpRequest) -> Reply:
        path = self.directory / request.path.lstrip("/").partition("?")[0]
        if not path.is_file():
            return Reply(status=404)
        data = path.read_bytes()
        self.sent += len(data) if request.method == "GET" else 0
        return Reply(data)


@contextmanager
def _serve(directory: Path) -> Iterator[Server]:
    with WebServer() as web:
        yield Server(directory, web)


def measure(work: Path, runs: int) -> None:
    """Print what each takes: seconds, CPU seconds, memory of the largest process, bytes sent and written."""
    work.mkdir(parents=True, exist_ok=True)
    store = Store.open()
    tools = open_programs(store, *DEBIANS)
    manifests, old, new = {}, work / "old", work / "new"
    builds = work / "builds"
    command = [sys.executable, "-m", "builder"]
    keys, repository = work / "keys", work / "served" / "repository"
    repository.parent.mkdir()
    subprocess.run([*command, "key", keys, "--for", "updates", "--dev"], check=True, stdout=subprocess.DEVNULL)
    for version in VERSIONS:
        manifests[version] = build_text(DEFINITION.format(version=version), builds / version, store)
        subprocess.run([*command, "publish", repository, "--keys", keys, "--out", builds / version], check=True)
    for version, directory in (("1", old), ("2", new)):
        directory.mkdir()
        for name, data in read_parts(manifests[version]).items():
            (directory / name).write_bytes(data)
    with _serve(repository.parent) as server:
        cases: dict[str, Callable[[Path], Run]] = {
            "os-update, in full": lambda room: _run_agent(tools, server, keys, room, []),
            "os-update, by deltas": lambda room: _run_agent(tools, server, keys, room, sorted(old.iterdir())),
            "swupdate, zstd -9": _prepare_swupdate(tools, server, new),
            "rauc, zstd -9": _prepare_rauc(tools, server, new),
            "systemd-sysupdate, xz -1": _prepare_sysupdate(tools, server, new),
        }
        print(
            f"  {sum(path.stat().st_size for path in new.iterdir()) / 1e6:.1f} MB of root, hash tree and kernel image"
        )
        for title, case in cases.items():
            done = []
            for turn in range(runs):
                server.sent = 0
                room = work / f"room-{turn}"
                room.mkdir()
                done.append(case(room))
                _compare(room, new)
                shutil.rmtree(room)
            middle = show(title, done)
            print(f"  {'':<34} {server.sent / 1e6:.2f} MB sent, {middle.written / 1e6:.0f} MB written", flush=True)


def _compare(room: Path, new: Path) -> None:
    """What was written is what was built."""
    for part in new.iterdir():
        written = room / "target" / f"bench_2.{part.name}"
        with written.open("rb") as one, part.open("rb") as other:
            if hashlib.file_digest(one, "sha256").digest() != hashlib.file_digest(other, "sha256").digest():
                sys.exit(f"{written} is not what it should be")


def _run(tools: Tools, *command: object) -> Run:
    program, *arguments = map(str, command)
    return measured_apart(tools.make_argv(program, *arguments), tools.make_environment())


def _run_agent(tools: Tools, server: Server, keys: Path, room: Path, old: list[Path]) -> Run:
    root = room / "machine"
    files = {
        "usr/lib/os-release": "IMAGE_ID=bench\nIMAGE_VERSION=1\n",
        "usr/lib/build-os/updates.json": json.dumps({"arch": "amd64", "url": f"{server.url}/repository"}),
        "usr/share/build-os/updates/root.json": (keys / "root.json").read_text(),
        "etc/machine-id": f"{7:032x}\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "var/lib").mkdir(parents=True)
    script = room / "agent.py"
    script.write_text(AGENT)
    authority, key = room / "ca.pem", room / "ca.key"
    tools.run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-noenc",
        "-keyout",
        key,
        "-out",
        authority,
        "-subj",
        "/CN=none",
    )
    taken = _run(tools, "python3", "-I", script, authority, REPOSITORY, root, *old)
    staged = root / "var/lib/update/staged"
    return taken + _sysupdate(tools, room, "regular-file", str(staged), "bench_@v.{part}")


def _sysupdate(tools: Tools, room: Path, kind: str, source: str, pattern: str) -> Run:
    definitions, target = room / "sysupdate", room / "target"
    definitions.mkdir()
    target.mkdir()
    for part in ("root", "verity", "uki"):
        values = {"kind": kind, "source": source, "target": target, "part": part}
        text = TRANSFER.format(pattern=pattern.format(part=part), **values)
        (definitions / f"10-{part}.transfer").write_text(text)
    return _run(tools, "systemd-sysupdate", "--no-pager", f"--definitions={definitions}", "--verify=no", "update", "2")


def _prepare_sysupdate(tools: Tools, server: Server, new: Path) -> Callable[[Path], Run]:
    directory = server.directory / "sysupdate"
    directory.mkdir()
    lines = []
    for part in sorted(new.iterdir()):
        packed = directory / f"bench_2.{part.name}.xz"
        shutil.copyfile(part, packed.with_suffix(""))
        tools.run("xz", "-1", "-T2", str(packed.with_suffix("")))
        lines.append(f"{hashlib.sha256(packed.read_bytes()).hexdigest()} *{packed.name}\n")
    (directory / "SHA256SUMS").write_text("".join(lines))
    return lambda room: _sysupdate(tools, room, "url-file", f"{server.url}/sysupdate/", "bench_@v.{part}.xz")


def _prepare_swupdate(tools: Tools, server: Server, new: Path) -> Callable[[Path], Run]:
    """One file: ``sw-description``, then the parts. They go into files behind a link, which each run makes."""
    directory = server.directory / "swupdate"
    directory.mkdir()
    images = []
    slots = directory / "slots"
    for part in sorted(new.iterdir()):
        packed = directory / f"{part.name}.zst"
        tools.run("zstd", "--quiet", "-9", part, "-o", packed)
        digest = hashlib.sha256(packed.read_bytes()).hexdigest()
        images.append(
            f'{{ filename = "{packed.name}"; device = "{slots}/bench_2.{part.name}"; type = "raw"; '
            f'compressed = "zstd"; installed-directly = true; sha256 = "{digest}"; }}'
        )
    text = f'software = {{ version = "2"; hardware-compatibility = [ "1.0" ]; images: ( {", ".join(images)} ); }}\n'
    (directory / "sw-description").write_text(text)
    # Debian's wants a signature (CMS), as a machine would.
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subject = ("-subj", "/CN=bench", "-addext", "extendedKeyUsage=emailProtection")
    tools.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-keyout", key, "-out", certificate, *subject)
    described = directory / "sw-description"
    signed = ("-in", described, "-out", f"{described}.sig", "-signer", certificate, "-inkey", key)
    tools.run("openssl", "cms", "-sign", *signed, "-outform", "DER", "-nosmimecap", "-binary")
    names = "\n".join(["sw-description", "sw-description.sig", *(f"{part.name}.zst" for part in sorted(new.iterdir()))])
    with (server.directory / "bench.swu").open("wb") as out:
        subprocess.run(
            tools.make_argv("cpio", "--quiet", "--create", "--format=crc"),
            cwd=directory,
            input=names.encode(),
            stdout=out,
            check=True,
            env=tools.make_environment(),
        )

    def run(room: Path) -> Run:
        target = room / "target"
        target.mkdir()
        for part in new.iterdir():
            (target / f"bench_2.{part.name}").touch()
        slots.unlink(missing_ok=True)
        slots.symlink_to(target)
        return _run(tools, "swupdate", "-k", certificate, "-H", "bench:1.0", "-d", f"-u {server.url}/bench.swu")

    return run


def _prepare_rauc(tools: Tools, server: Server, new: Path) -> Callable[[Path], Run]:
    """A bundle, which is a squashfs with a signed hash tree. 'rauc install' wants the system's bus and mounts what it
    installs; so a bundle is downloaded, verified and unpacked, and each of its images written, by three commands."""
    directory = server.directory / "rauc"
    content = directory / "content"
    content.mkdir(parents=True)
    manifest = "[update]\ncompatible=bench\nversion=2\n[bundle]\nformat=verity\n"
    for part in sorted(new.iterdir()):
        shutil.copyfile(part, content / f"{part.name}.img")
        manifest += f"[image.{part.name}]\nfilename={part.name}.img\n"
    (content / "manifest.raucm").write_text(manifest)
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subject = ("-subj", "/CN=bench")
    tools.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-keyout", key, "-out", certificate, *subject)
    signer = (f"--cert={certificate}", f"--key={key}", "--mksquashfs-args=-comp zstd -Xcompression-level 9 -quiet")
    tools.run("rauc", *signer, "bundle", content, directory / "bench.raucb")

    def run(room: Path) -> Run:
        target, unpacked = room / "target", room / "unpacked"
        target.mkdir()
        text = "[system]\ncompatible=bench\nbootloader=noop\n"
        for part in sorted(new.iterdir()):
            slot = target / f"bench_2.{part.name}"
            with slot.open("wb") as file:
                file.truncate(part.stat().st_size)
            text += f"[slot.{part.name}.0]\ndevice={slot}\ntype=raw\n"
        (room / "system.conf").write_text(text)
        bundle, options = room / "bench.raucb", (f"--conf={room / 'system.conf'}", f"--keyring={certificate}")
        done = _run(tools, "curl", "--silent", "--fail", "--output", bundle, f"{server.url}/rauc/bench.raucb")
        done += _run(tools, "rauc", *options, "extract", bundle, unpacked)
        for part in sorted(new.iterdir()):
            done += _run(tools, "rauc", *options, "write-slot", f"{part.name}.0", unpacked / f"{part.name}.img")
        return done

    return run
