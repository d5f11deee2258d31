"""What a config writes for a program that the image has another for: it gets files for that one besides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstboot.config.lazy import import_lazily
from firstboot.config.models import File, Resource
from firstboot.config.origins import Complaint, GeneratedFrom, Origins
from firstboot.config.resource import BadResource, inline_bytes, is_inline
from firstboot.config.text import Path, Problem
from firstboot.config.urls import make_data_url

if TYPE_CHECKING:
    from firstboot.apply.root import Root
    from firstboot.config import networkmanager
    from firstboot.config.loaded import LoadedConfig
else:
    networkmanager = import_lazily("firstboot.config.networkmanager")

KEYFILES = "/etc/NetworkManager/system-connections/"
NETWORK_MANAGER = "/usr/sbin/NetworkManager"
NETWORKD = "/usr/lib/systemd/systemd-networkd"


def translate_keyfiles(loaded: LoadedConfig, root: Root) -> LoadedConfig:
    """The config with files for systemd-networkd, if it has keyfiles for NetworkManager and the image has none.

    What has no effect is among the warnings.
    """
    keyfiles = {
        file.path: (index, file)
        for index, file in enumerate(loaded.config.storage.files)
        if file.path.startswith(KEYFILES)
    }
    if not keyfiles or root.has(NETWORK_MANAGER) or not root.has(NETWORKD):
        return loaded
    warnings: list[Complaint] = []
    texts = {}
    for path, (index, file) in keyfiles.items():
        text = _text(file)
        if text is None:
            message = f"{path} is elsewhere, and NetworkManager is not in the image: it has no effect"
            warnings.append(_warning(loaded, index, message))
        else:
            texts[path] = text
    translated = networkmanager.translate(texts)
    for remark in translated.remarks:
        line = f", line {remark.line}" if remark.line else ""
        message = f"{remark.file}{line}: without effect: {remark.message}"
        warnings.append(_warning(loaded, keyfiles[remark.file][0], message))
    storage = loaded.config.storage
    there = {file.path for file in storage.files}
    files = [*storage.files]
    entries = dict(loaded.origins.entries)
    for path, (text, source) in translated.files.items():
        if path not in there:
            at: Path = ("storage", "files", keyfiles[source][0])
            located, place = loaded.origins.find(at)
            entries["storage", "files", len(files)] = (GeneratedFrom(located), place)
            contents = Resource(source=make_data_url(text.encode()))
            files.append(File(path=path, mode=0o644, contents=contents, overwrite=True))
    config = loaded.config.model_copy(update={"storage": storage.model_copy(update={"files": tuple(files)})})
    return loaded._replace(config=config, origins=Origins(entries), warnings=(*loaded.warnings, *warnings))


def _text(file: File) -> str | None:
    parts = [part for part in (file.contents, *file.append) if part.source is not None]
    if not all(map(is_inline, parts)):
        return None
    try:
        return b"".join(map(inline_bytes, parts)).decode("utf-8", "replace")
    except BadResource:
        return ""  # whoever writes it says what is wrong


def _warning(loaded: LoadedConfig, index: int, message: str) -> Complaint:
    hint = "the image's network is set up by systemd-networkd: 'network:' of variant: buildos, or .network files"
    return loaded.make_complaint(Problem(("storage", "files", index, "path"), message, hint, "warning"))
