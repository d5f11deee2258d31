"""The wanted formats, written, hashed, and moved into the output directory."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from builder.core.beside import beside
from builder.core.console import Console
from builder.core.files import sync_content, sync_names
from builder.core.tools import Tools
from builder.outputs import sbom as sboms
from builder.outputs.formats import FORMATS, Identity, make_artifacts
from builder.outputs.manifest import Artifact
from builder.outputs.wanted import Made


def publish(
    formats: Sequence[str],
    made: Made,
    sbom: bytes,
    out: Path,
    tools: Tools,
    console: Console,
    identity: Identity,
    seconds: dict[str, float],
) -> dict[str, Artifact]:
    """Write the formats and move everything into ``out``, each file whole or not at all.

    Args:
        sbom: the bill of materials.
        seconds: receives how long the formats took.

    Returns:
        The artifacts, by kind: the parts, then the formats.

    Raises:
        ConfigError, CapabilityError, ProgramError: see :func:`builder.outputs.formats.make_artifacts`.
    """
    with tempfile.TemporaryDirectory(dir=out, prefix=".new-") as directory:
        fresh = Path(directory)
        files: dict[str, tuple[Path, str]] = {}
        parts = [
            ("uki", made.uki, "efi"),
            ("kernel", made.kernel, "vmlinuz"),
            ("initrd", made.initrd, "initrd"),
            ("facts", made.facts, "facts.json"),
        ]
        if made.certificate is not None:
            parts.append(("certificate", made.certificate, "cer"))
        for kind, source, suffix in parts:
            target = fresh / f"{identity.name}.{suffix}"
            shutil.copyfile(source, target)
            files[kind] = (target, suffix)
        target = fresh / f"{identity.name}{sboms.SUFFIX}"
        target.write_bytes(sbom)
        files["sbom"] = (target, sboms.FORMAT)
        started = time.monotonic()
        with console.step(f"write {', '.join(formats)}"):
            written = make_artifacts(formats, made.disk, fresh, tools, identity)
        seconds["formats"] = time.monotonic() - started
        files |= {kind: (path, FORMATS[kind].base) for kind, path in written.items()}
        with console.step("hash artifacts"):
            for path, _ in files.values():
                path.chmod(0o644)
            # OpenSSL leaves Python's lock while it hashes, and the disk writes meanwhile.
            found = beside(*(partial(_durable_artifact, path, form) for path, form in files.values()))
        for path, _ in files.values():
            path.replace(out / path.name)
        sync_names(out)
    return dict(zip(files, found, strict=True))


def _durable_artifact(path: Path, form: str) -> Artifact:
    """Describe a file whose content is on the disk by then."""
    artifact, _ = beside(partial(Artifact.of, path, form), partial(sync_content, path))
    assert isinstance(artifact, Artifact)
    return artifact
