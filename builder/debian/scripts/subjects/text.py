"""Texts that go from one place to another: cat(1), tee(1), zcat(1), xargs(1). Names: basename(1), dirname(1)."""

from __future__ import annotations

import gzip
import io

from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import MAX_CONTENT, UNKNOWN, NotModelled

MAX_PACKED = 1 << 20  # bytes of a compressed file that a script reads


def input_of(shell: Shell, names: list[str]) -> str | None:
    """What a filter reads: files, or its standard input; ``None`` if a file is missing."""
    if not names or names == ["-"]:
        return shell.state.input or ""
    texts = []
    for name in names:
        text = (shell.state.input or "") if name == "-" else shell.system.read(shell.resolve_path(name))
        if text is None:
            return None
        texts.append(text)
    return "".join(texts)


def _filtered(shell: Shell, names: list[str], missing: int = 1) -> tuple[str, Status]:
    """The input, or a status to end with; what is not known goes on as such."""
    text = input_of(shell, names)
    if text is None:
        return "", missing
    if UNKNOWN in text:
        shell.say(UNKNOWN)
        return "", -1
    return text, 0


def cat(shell: Shell, arguments: list[str]) -> Status:
    """``cat [file ...]``."""
    options = read_options("cat", arguments, "u")
    text = input_of(shell, options.operands)
    if text is None:
        return 1
    shell.say(text)
    return 0


def zcat(shell: Shell, arguments: list[str]) -> Status:
    """``zcat [file ...]``, ``gunzip -c``: what is in compressed files."""
    options = read_options("zcat", arguments, "c d f q stdout decompress force")
    texts: list[str] = []
    for name in options.operands or ["-"]:
        text, status = _filtered(shell, [name])
        if status:
            return max(status, 0)
        data = text.encode(errors="surrogateescape")
        if len(data) > MAX_PACKED:
            raise NotModelled("zcat of a large file")
        try:
            stream = gzip.GzipFile(fileobj=io.BytesIO(data))
            texts.append(stream.read(MAX_CONTENT).decode(errors="surrogateescape"))
            if stream.read(1):
                raise NotModelled("zcat of a large file")
        except (OSError, EOFError):
            if not {"f", "force"} & options.given.keys():
                return 1
            texts.append(text)
    shell.say("".join(texts))
    return 0


def gzip_(shell: Shell, arguments: list[str]) -> Status:
    """``gzip -dc``: as ``zcat``. What compresses is not modelled: the bits are those of the program's version."""
    letters = "".join(argument[1:] for argument in arguments if argument.startswith("-") and argument[1:2] != "-")
    reads = "d" in letters and ("c" in letters or not [a for a in arguments if not a.startswith("-")])
    if not reads:
        raise NotModelled("gzip")
    return zcat(shell, arguments)


def tee(shell: Shell, arguments: list[str]) -> Status:
    """``tee [-a] file ...``."""
    options = read_options("tee", arguments, "a append")
    text = shell.state.input or ""
    for name in options.operands:
        shell.system.write(shell.resolve_path(name), text, append=bool({"a", "append"} & options.given.keys()))
    shell.say(text)
    return 0


def basename(shell: Shell, arguments: list[str]) -> Status:
    """``basename path [suffix]``."""
    options = read_options("basename", arguments, "a", "s suffix")
    name = options.operands[0].rstrip("/").rpartition("/")[2]
    suffix = options.get("s", "suffix") or (options.operands[1] if len(options.operands) > 1 else "")
    shell.say((name.removesuffix(suffix) if suffix != name else name) + "\n")
    return 0


def dirname(shell: Shell, arguments: list[str]) -> Status:
    """``dirname path``."""
    path = arguments[-1].rstrip("/")
    head_part = path.rpartition("/")
    shell.say((head_part[0] or ("/" if head_part[1] else ".")) + "\n")
    return 0


def xargs(shell: Shell, arguments: list[str]) -> Status:
    """``xargs [-r] [-0] [-n 1] command``."""
    options = read_options("xargs", arguments, "r 0 no-run-if-empty null", "n L I", mixed=False)
    text, status = _filtered(shell, [])
    if status == -1:
        raise NotModelled("xargs of what is only known on a running machine")
    items = [i for i in text.split("\0") if i] if {"0", "null"} & options.given.keys() else text.split()
    command = options.operands or ["echo"]
    if "I" in options:
        result: Status = 0
        for item in items:
            result = shell.call([word.replace(options.given["I"], item) for word in command])
        return result
    if not items and {"r", "no-run-if-empty"} & options.given.keys():
        return 0
    if options.get("n", "L") == "1":
        for item in items:
            shell.call([*command, item])
        return 0
    return shell.call([*command, *items])


COMMANDS = make_models(
    {
    "cat": cat, "tee": tee, "zcat": zcat, "gzip": gzip_, "gunzip": gzip_, "basename": basename, "dirname": dirname,
    "xargs": xargs,
    },
    accept_unknown=("cat", "xargs", "basename", "dirname"),
    are_common_names=True,
)  # fmt: skip
