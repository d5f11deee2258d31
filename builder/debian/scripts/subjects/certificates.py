"""``update-ca-certificates(8)``: the bundle that TLS libraries read, and the directory that OpenSSL looks into."""

from __future__ import annotations

from pathlib import PurePosixPath

from builder.debian.scripts.subjects.generated import note_generated
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.node import make_directory, make_file, make_symlink

SOURCE = "/usr/share/ca-certificates"
CERTS = "/etc/ssl/certs"
CONF = "/etc/ca-certificates.conf"


def list_certificates(work: Work) -> list[str]:
    """The certificates that packages ship, as paths below :data:`SOURCE`, sorted."""
    return [path.removeprefix(f"{SOURCE}/") for path, _ in work.tree.walk(SOURCE) if path.endswith(".crt")]


def list_trusted(work: Work) -> list[str]:
    """The certificates that nobody deselected."""
    listed = work.tree.read_text(CONF).splitlines() if CONF in work.tree else []
    return [name for name in list_certificates(work) if f"!{name}" not in listed]


def make_pem_name(name: str) -> str:
    """What a certificate's link in :data:`CERTS` is called."""
    return PurePosixPath(name).stem.replace(" ", "_").replace(",", "_") + ".pem"


def install_bundle(work: Work) -> None:
    """Write ``/etc/ca-certificates.conf``, the bundle, a link a certificate, and OpenSSL's hash links."""
    tree = work.tree
    if not work.has(SOURCE):
        return
    names = list_certificates(work)
    # After what ca-certificates' own script writes: an explanation, and those of its questions.
    head = tree.read_text(CONF) if CONF in tree else ""
    known = frozenset(line.lstrip("!") for line in head.splitlines())
    tree.put(CONF, make_file(head + "".join(f"{name}\n" for name in names if name not in known), origin=ORIGIN))
    tree.put(CERTS, make_directory(origin=ORIGIN))
    bundle = b""
    for name in list_trusted(work):
        text = tree.read(f"{SOURCE}/{name}")
        bundle += text if text.endswith(b"\n") else text + b"\n"
        tree.put(f"{CERTS}/{make_pem_name(name)}", make_symlink(f"{SOURCE}/{name}", origin=ORIGIN))
    with work.materialise_parts(CERTS, SOURCE) as part:
        # The links are absolute; while OpenSSL reads them they must lead into the copy.
        links = [entry for entry in (part.root / CERTS.lstrip("/")).iterdir() if entry.is_symlink()]
        for link in links:
            target = link.readlink()
            link.unlink()
            link.symlink_to(part.root / str(target).lstrip("/"))
        work.tools.run("openssl", "rehash", part.root / CERTS.lstrip("/"))
        for link in (part.root / CERTS.lstrip("/")).iterdir():
            if link.is_symlink() and "/" not in str(link.readlink()):
                tree.put(f"{CERTS}/{link.name}", make_symlink(str(link.readlink()), origin=ORIGIN))
    tree.put(f"{CERTS}/ca-certificates.crt", make_file(bundle, origin=ORIGIN))


COMMANDS = note_generated({
    "update-ca-certificates": "the bundle of certificates is made when all packages are in",
})  # fmt: skip
