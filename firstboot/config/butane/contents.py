"""Sugar that stands for the bytes of one thing: inline and local contents, local units and keys."""

from __future__ import annotations

import re

from firstboot.config.butane.encoding import Encoder
from firstboot.config.butane.files import LocalFiles, NoLocalFile
from firstboot.config.shape import Sugar, SugarUse

SOURCES = ("local", "inline", "source")


def make_inline_sugar(encode: Encoder) -> Sugar:
    """``inline: text`` instead of a ``source``."""

    def sugar(use: SugarUse) -> None:
        text = use.get_text()
        if _is_only_source(use) and text is not None:
            _put(use, text.encode("utf-8", "surrogatepass"), encode)

    return sugar


def make_local_sugar(files: LocalFiles, encode: Encoder) -> Sugar:
    """``local: path`` instead of a ``source``."""

    def sugar(use: SugarUse) -> None:
        name = use.get_text()
        if not _is_only_source(use) or name is None:
            return
        data = _read(use, name, files)
        if data is not None:
            _put(use, data, encode)

    return sugar


def _is_only_source(use: SugarUse) -> bool:
    """Whether no other source is given as well; the last of several complains."""
    given = [source for source in SOURCES if use.siblings.get(source) is not None]
    if len(given) > 1 and use.key == [source for source in given if source != "source"][-1]:
        use.refuse("give only one of inline, local and source", on_key=True)
    return len(given) == 1


def _put(use: SugarUse, data: bytes, encode: Encoder) -> None:
    compression = use.result.get("compression")
    encoded = encode(data, compression if isinstance(compression, str) else None)
    use.result["source"] = encoded.source
    use.walk.origins[(*use.out, "source")] = use.path
    if encoded.compression is not None:
        use.result["compression"] = encoded.compression
        use.walk.origins.setdefault((*use.out, "compression"), use.path)


def make_contents_local_sugar(files: LocalFiles) -> Sugar:
    """``contents_local: path`` for the text of a unit or a drop-in."""

    def sugar(use: SugarUse) -> None:
        name = use.get_text()
        if use.siblings.get("contents") is not None:
            use.refuse("give only one of contents and contents_local", on_key=True)
        elif name:
            data = _read(use, name, files)
            if data is not None:
                use.result["contents"] = data.decode("utf-8", "replace")
                use.walk.origins[(*use.out, "contents")] = use.path

    return sugar


def make_keys_local_sugar(files: LocalFiles) -> Sugar:
    """``ssh_authorized_keys_local: [path]``: every line of the files is a key, comments included."""

    def sugar(use: SugarUse) -> None:
        if not isinstance(use.value, list):
            use.refuse("expected a list of paths")
            return
        for index, name in enumerate(use.value):
            at = use._replace(path=(*use.path, index))
            if not isinstance(name, str):
                at.refuse("expected a path")
                continue
            data = _read(at, name, files)
            keys = use.result.setdefault("sshAuthorizedKeys", [])
            if data is None or not isinstance(keys, list):
                continue
            for line in re.split(r"\r?\n", data.decode("utf-8", "replace")):
                if line:
                    use.walk.origins[(*use.out, "sshAuthorizedKeys", len(keys))] = at.path
                    keys.append(line)

    return sugar


def _read(use: SugarUse, name: str, files: LocalFiles) -> bytes | None:
    try:
        return files.read(name)
    except NoLocalFile as error:
        use.refuse(str(error), error.hint)
        return None
