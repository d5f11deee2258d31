"""Sugar that stands for the bytes of one thing: inline and local contents, local units and keys."""

from __future__ import annotations

import re

from firstboot.config.butane.encoding import Encoder
from firstboot.config.butane.files import LocalFiles, NoLocalFile
from firstboot.config.shape import Sugar, Sweet

SOURCES = ("local", "inline", "source")


def inline(encode: Encoder) -> Sugar:
    """``inline: text`` instead of a ``source``."""

    def sugar(sweet: Sweet) -> None:
        text = sweet.text()
        if _is_only_source(sweet) and text is not None:
            _put(sweet, text.encode("utf-8", "surrogatepass"), encode)

    return sugar


def local(files: LocalFiles, encode: Encoder) -> Sugar:
    """``local: path`` instead of a ``source``."""

    def sugar(sweet: Sweet) -> None:
        name = sweet.text()
        if not _is_only_source(sweet) or name is None:
            return
        data = _read(sweet, name, files)
        if data is not None:
            _put(sweet, data, encode)

    return sugar


def _is_only_source(sweet: Sweet) -> bool:
    """Whether no other source is given as well; the last of several complains."""
    given = [each for each in SOURCES if sweet.siblings.get(each) is not None]
    if len(given) > 1 and sweet.key == [each for each in given if each != "source"][-1]:
        sweet.refuse("give only one of inline, local and source", on_key=True)
    return len(given) == 1


def _put(sweet: Sweet, data: bytes, encode: Encoder) -> None:
    compression = sweet.result.get("compression")
    encoded = encode(data, compression if isinstance(compression, str) else None)
    sweet.result["source"] = encoded.source
    sweet.walk.origins[(*sweet.out, "source")] = sweet.path
    if encoded.compression is not None:
        sweet.result["compression"] = encoded.compression
        sweet.walk.origins.setdefault((*sweet.out, "compression"), sweet.path)


def contents_local(files: LocalFiles) -> Sugar:
    """``contents_local: path`` for the text of a unit or a drop-in."""

    def sugar(sweet: Sweet) -> None:
        name = sweet.text()
        if sweet.siblings.get("contents") is not None:
            sweet.refuse("give only one of contents and contents_local", on_key=True)
        elif name:
            data = _read(sweet, name, files)
            if data is not None:
                sweet.result["contents"] = data.decode("utf-8", "replace")
                sweet.walk.origins[(*sweet.out, "contents")] = sweet.path

    return sugar


def keys_local(files: LocalFiles) -> Sugar:
    """``ssh_authorized_keys_local: [path]``: every line of the files is a key, comments included."""

    def sugar(sweet: Sweet) -> None:
        if not isinstance(sweet.value, list):
            sweet.refuse("expected a list of paths")
            return
        for index, name in enumerate(sweet.value):
            at = sweet._replace(path=(*sweet.path, index))
            if not isinstance(name, str):
                at.refuse("expected a path")
                continue
            data = _read(at, name, files)
            keys = sweet.result.setdefault("sshAuthorizedKeys", [])
            if data is None or not isinstance(keys, list):
                continue
            for line in re.split(r"\r?\n", data.decode("utf-8", "replace")):
                if line:
                    sweet.walk.origins[(*sweet.out, "sshAuthorizedKeys", len(keys))] = at.path
                    keys.append(line)

    return sugar


def _read(sweet: Sweet, name: str, files: LocalFiles) -> bytes | None:
    try:
        return files.read(name)
    except NoLocalFile as error:
        sweet.refuse(str(error), error.hint)
        return None
