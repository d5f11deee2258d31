"""Filters of text, by the forms that scripts use: sed(1), grep(1), cut(1), tr(1), awk(1), sort(1) and their like."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
from collections.abc import Callable
from itertools import groupby

from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell
from builder.debian.scripts.language.patterns import PatternError, basic_regex
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import MAX_CONTENT, NOT_OURS, UNKNOWN, NotModelled

MAX_PACKED = 1 << 20  # bytes of a compressed file that a script reads


def input_of(shell: Shell, names: list[str]) -> str | None:
    """What a filter reads: files, or its standard input; ``None`` if a file is missing."""
    if not names or names == ["-"]:
        return shell.state.input or ""
    texts = []
    for name in names:
        text = (shell.state.input or "") if name == "-" else shell.system.read(shell.path(name))
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


def cat_words(shell: Shell, arguments: list[str]) -> Status:
    """``fold``, ``fmt``: texts for people, whose width nobody asks for."""
    shell.say(shell.state.input or "")
    return 0


def base64_(shell: Shell, arguments: list[str]) -> Status:
    """``base64 [-w 0]``, ``base64 -d``."""
    options = read_options("base64", arguments, "d decode", "w wrap")
    text, status = _filtered(shell, options.operands)
    if status:
        return max(status, 0)
    if {"d", "decode"} & options.given.keys():
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except ValueError:
            return 1
        shell.say(data.decode(errors="surrogateescape"))
        return 0
    encoded = base64.b64encode(text.encode(errors="surrogateescape")).decode()
    width = int(options.get("w", "wrap") or "76")
    lines = [encoded] if not width else [encoded[at : at + width] for at in range(0, len(encoded), width)]
    shell.say("\n".join(lines) + ("\n" if width else ""))
    return 0


def tac(shell: Shell, arguments: list[str]) -> Status:
    """``tac [file ...]``."""
    options = read_options("tac", arguments, "")
    text, status = _filtered(shell, options.operands)
    if status == 0:
        shell.say("".join(reversed(text.splitlines(keepends=True))))
    return max(status or 0, 0)


def zcat(shell: Shell, arguments: list[str]) -> Status:
    """``zcat [file ...]``, ``gunzip -c``: what is in compressed files."""
    options = read_options("zcat", arguments, "c d f q stdout decompress force")
    found: list[str] = []
    for name in options.operands or ["-"]:
        text, status = _filtered(shell, [name])
        if status:
            return max(status, 0)
        data = text.encode(errors="surrogateescape")
        if len(data) > MAX_PACKED:
            raise NotModelled("zcat of a large file")
        try:
            stream = gzip.GzipFile(fileobj=io.BytesIO(data))
            found.append(stream.read(MAX_CONTENT).decode(errors="surrogateescape"))
            if stream.read(1):
                raise NotModelled("zcat of a large file")
        except (OSError, EOFError):
            if not {"f", "force"} & options.given.keys():
                return 1
            found.append(text)
    shell.say("".join(found))
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
        shell.system.write(shell.path(name), text, append=bool({"a", "append"} & options.given.keys()))
    shell.say(text)
    return 0


def grep(shell: Shell, arguments: list[str]) -> Status:
    """``grep [-E|-F] [-q] [-v] [-i] [-c] [-o] [-x] [-w] [-l] [-s] pattern [file ...]``."""
    silent = {"--color": "-s", "--color=never": "-s", "--color=auto": "-s", "--no-messages": "-s"}  # no terminal
    arguments = [silent.get(argument, argument) for argument in arguments]
    flags = (
        "q v i c o x w l L s E F P n h H a r R quiet invert-match ignore-case extended-regexp fixed-strings "
        "line-regexp silent count only-matching word-regexp line-number"
    )
    options = read_options("grep", arguments, flags, "e m f regexp max-count")
    operands = list(options.operands)
    pattern = options.get("e", "regexp")
    if "f" in options:
        raise NotModelled("grep -f")
    if pattern is None:
        if not operands:
            return 2
        pattern = operands.pop(0)

    def has(*names: str) -> bool:
        return any(name in options for name in names)

    if UNKNOWN in pattern or any(UNKNOWN in operand for operand in operands):
        shell.say(UNKNOWN)
        return None
    if has("r", "R"):
        operands = [path for name in operands for path, _ in shell.system.walk(shell.path(name))]
    try:
        regex = _grep_regex(
            pattern,
            fixed=has("F", "fixed-strings"),
            extended=has("E", "P", "extended-regexp"),
            whole=has("x", "line-regexp"),
            word=has("w", "word-regexp"),
            ignore=has("i", "ignore-case"),
        )
    except PatternError as error:
        raise NotModelled(f"the pattern {pattern}") from error
    matched, missing, lines = False, False, []
    for name in operands or ["-"]:
        text = input_of(shell, [name])
        if text is None:
            missing = True
            continue
        if UNKNOWN in text:
            shell.say(UNKNOWN)
            return None
        numbered = [
            (number, line)
            for number, line in enumerate(text.splitlines(), 1)
            if bool(regex.search(line)) != has("v", "invert-match")
        ]
        found = [f"{number}:{line}" if has("n", "line-number") else line for number, line in numbered]
        matched = matched or bool(found)
        if has("l"):
            lines += [name] * bool(found)
        elif has("L"):
            lines += [name] * (not found)
        elif has("o", "only-matching"):
            lines += [
                f"{number}:{match[0]}" if has("n", "line-number") else match[0]
                for number, line in numbered
                for match in regex.finditer(line)
                if match[0]
            ]
        elif has("c", "count"):
            lines.append(str(len(found)))
        else:
            prefix = f"{name}:" if len(operands) > 1 and not has("h") else ""
            lines += [prefix + line for line in found]
    if "m" in options:
        lines = lines[: int(options.given["m"])]
    if not has("q", "quiet", "silent"):
        shell.say("".join(line + "\n" for line in lines))
    return 0 if matched else 2 if missing else 1


def _grep_regex(text: str, *, fixed: bool, extended: bool, whole: bool, word: bool, ignore: bool) -> re.Pattern[str]:
    parts = []
    for line in text.split("\n"):
        parts.append(re.escape(line) if fixed else basic_regex(line, extended=extended).pattern)
    source = "|".join(f"(?:{part})" for part in parts)
    if whole:
        source = rf"\A(?:{source})\Z"
    elif word:
        source = rf"(?<!\w)(?:{source})(?!\w)"
    return re.compile(source, re.I if ignore else 0)


def egrep(shell: Shell, arguments: list[str]) -> Status:
    """``egrep``."""
    return grep(shell, ["-E", *arguments])


def fgrep(shell: Shell, arguments: list[str]) -> Status:
    """``fgrep``."""
    return grep(shell, ["-F", *arguments])


def cut(shell: Shell, arguments: list[str]) -> Status:
    """``cut -d c -f list`` and ``cut -c list``."""
    options = read_options(
        "cut", arguments, "s n only-delimited", "d f c b delimiter fields characters output-delimiter"
    )
    text, status = _filtered(shell, options.operands)
    if status:
        return max(status, 0)
    delimiter = options.get("d", "delimiter") or "\t"
    fields, characters = options.get("f", "fields"), options.get("c", "b", "characters")
    out = []
    for line in text.splitlines():
        if fields is not None:
            parts = line.split(delimiter)
            if len(parts) == 1:
                if "s" not in options:
                    out.append(line)
                continue
            chosen = [parts[i] for i in _positions(fields, len(parts))]
            out.append((options.get("output-delimiter") or delimiter).join(chosen))
        else:
            out.append("".join(line[i] for i in _positions(characters or "1-", len(line))))
    shell.say("".join(line + "\n" for line in out))
    return 0


def _positions(text: str, length: int) -> list[int]:
    wanted: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not re.fullmatch(r"[0-9]*-?[0-9]*", part) or part in ("", "-"):
            raise NotModelled(f"the list {text}")
        start = int(first or 1)
        end = (int(last) if last else length) if dash else start
        wanted.update(range(start - 1, min(end, length)))
    return sorted(wanted)


_TR_CLASSES = {"lower": "abcdefghijklmnopqrstuvwxyz", "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "digit": "0123456789",
               "space": " \t\n\r\f\v", "blank": " \t"}  # fmt: skip


def _characters(text: str) -> str:
    from builder.debian.scripts.subjects.builtins import unescaped  # noqa: PLC0415

    text = re.sub(r"\[:(\w+):\]", lambda m: _TR_CLASSES.get(m[1], ""), text)
    text = unescaped(text)
    return re.sub(
        r"(.)-(.)",
        lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))) if m[1] <= m[2] else m[0],
        text,
        flags=re.S,
    )


def tr(shell: Shell, arguments: list[str]) -> Status:
    """``tr [-d] [-s] [-c] set [set]``."""
    options = read_options("tr", arguments, "d s c C delete squeeze-repeats complement", mixed=False)
    text, status = _filtered(shell, [])
    if status:
        return max(status, 0)
    first = _characters(options.operands[0]) if options.operands else ""
    second = _characters(options.operands[1]) if len(options.operands) > 1 else ""
    complement = {"c", "C", "complement"} & options.given.keys()
    if {"d", "delete"} & options.given.keys():
        shell.say("".join(c for c in text if (c in first) == bool(complement)))
        return 0
    if second:
        if complement:
            text = "".join(c if c in first else second[-1] for c in text)
        else:
            second = second.ljust(len(first), second[-1])
            text = text.translate({ord(a): b for a, b in zip(first, second, strict=False)})
    if {"s", "squeeze-repeats"} & options.given.keys():
        squeezed = second or first
        text = re.sub(r"(.)\1+", lambda m: m[1] if m[1] in squeezed else m[0], text, flags=re.S)
    shell.say(text)
    return 0


def head(shell: Shell, arguments: list[str]) -> Status:
    """``head [-n count]``."""
    return _some(shell, "head", arguments)


def tail(shell: Shell, arguments: list[str]) -> Status:
    """``tail [-n count]``."""
    return _some(shell, "tail", arguments)


def _some(shell: Shell, name: str, arguments: list[str]) -> Status:
    arguments = [f"-n{a[1:]}" if re.fullmatch(r"-[0-9]+", a) else a for a in arguments]
    options = read_options(name, arguments, "q", "n c lines bytes")
    text, status = _filtered(shell, options.operands)
    if status:
        return max(status, 0)
    count = options.get("n", "c", "lines", "bytes") or "10"
    if not re.fullmatch(r"[-+]?[0-9]+", count):
        raise NotModelled(f"{name} {count}")
    items = text.splitlines(keepends=True) if options.get("c", "bytes") is None else list(text)
    number = int(count)
    if name == "head":
        items = items[:number]  # a negative number leaves out that many at the end, as in Python
    else:
        items = items[number - 1 :] if count.startswith("+") else items[-abs(number) :] if number else []
    shell.say("".join(items))
    return 0


def sort(shell: Shell, arguments: list[str]) -> Status:
    """``sort [-u] [-r] [-n] [-V]``."""
    options = read_options("sort", arguments, "u r n V f unique reverse numeric-sort version-sort", "k t")
    text, status = _filtered(shell, options.operands)
    if status:
        return max(status, 0)
    if "k" in options:
        raise NotModelled("sort -k")
    lines = text.splitlines()
    if {"u", "unique"} & options.given.keys():
        lines = list(dict.fromkeys(lines))
    numeric = {"n", "V", "numeric-sort", "version-sort"} & options.given.keys()

    def natural(line: str) -> list[tuple[int, str]]:
        return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"([0-9]+)", line)]

    lines.sort(key=natural if numeric else lambda line: [(0, line)])
    if {"r", "reverse"} & options.given.keys():
        lines.reverse()
    shell.say("".join(line + "\n" for line in lines))
    return 0


def uniq(shell: Shell, arguments: list[str]) -> Status:
    """``uniq [-c] [-d] [-u]``."""
    options = read_options("uniq", arguments, "c d u")
    text, status = _filtered(shell, options.operands)
    if status:
        return max(status, 0)
    for line, group in groupby(text.splitlines()):
        count = len(list(group))
        if ("d" not in options or count > 1) and ("u" not in options or count == 1):
            shell.say(f"{count:7} {line}\n" if "c" in options else f"{line}\n")
    return 0


def wc(shell: Shell, arguments: list[str]) -> Status:
    """``wc -l``, ``-c``, ``-w``."""
    options = read_options("wc", arguments, "l c w lines bytes words")
    text, status = _filtered(shell, options.operands)
    if status:
        return max(status, 0)
    if {"l", "lines"} & options.given.keys():
        number = text.count("\n")
    elif {"w", "words"} & options.given.keys():
        number = len(text.split())
    else:
        number = len(text.encode(errors="surrogateescape"))
    shell.say(f"{number}{' ' + options.operands[0] if options.operands else ''}\n")
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


def seq(shell: Shell, arguments: list[str]) -> Status:
    """``seq [first [step]] last``."""
    if not all(a.lstrip("-").isdigit() for a in arguments) or not 1 <= len(arguments) <= 3:
        raise NotModelled("seq")
    numbers = [int(argument) for argument in arguments]
    first, step, last = [1, 1, *numbers] if len(numbers) == 1 else (numbers[0], [*numbers[1:-1], 1][0], numbers[-1])
    if step == 0 or (last - first) // step > 10_000:
        raise NotModelled("seq of too many numbers")
    shell.say("".join(f"{i}\n" for i in range(first, last + (1 if step > 0 else -1), step)))
    return 0


def expr(shell: Shell, arguments: list[str]) -> Status:
    """``expr text : pattern``, comparisons and sums."""
    if len(arguments) != 3:
        raise NotModelled("expr")
    left, operator, right = arguments
    if operator in (":", "match"):
        match = basic_regex(right).match(left)
        value = "" if match is None else (match[1] or "") if match.re.groups else str(len(match[0]))
    elif operator in ("+", "-", "*") and left.lstrip("-").isdigit() and right.lstrip("-").isdigit():
        value = str({"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[operator])
    elif operator in ("=", "!="):
        value = str(int((left == right) == (operator == "=")))
    else:
        raise NotModelled("expr")
    shell.say(value + "\n")
    return 1 if value in ("", "0") else 0


def checksum(name: str) -> Callable[[Shell, list[str]], Status]:
    """``md5sum``, ``sha1sum``, ``sha256sum``."""

    def run(shell: Shell, arguments: list[str]) -> Status:
        options = read_options(name, arguments, "b t c quiet status check")
        if {"c", "check"} & options.given.keys():
            raise NotModelled(f"{name} -c")
        for operand in options.operands or ["-"]:
            text = input_of(shell, [operand])
            if text is None:
                return 1
            digest = hashlib.new(name.removesuffix("sum"), text.encode(errors="surrogateescape"), usedforsecurity=False)
            shell.say(UNKNOWN if UNKNOWN in text else f"{digest.hexdigest()}  {operand}\n")
        return 0

    return run


def cmp(shell: Shell, arguments: list[str]) -> Status:
    """``cmp [-s] one other`` and ``diff -q``."""
    options = read_options("cmp", arguments, "s q u N w B b silent quiet brief")
    if len(options.operands) != 2:
        raise NotModelled("cmp")
    one, other = (
        shell.system.read(shell.path(name)) if not NOT_OURS.match(shell.path(name)) else UNKNOWN
        for name in options.operands
    )
    if one is None or other is None:
        return 2
    return None if UNKNOWN in one + other else int(one != other)


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


TEXT = {
    "cat": cat, "tee": tee, "grep": grep, "egrep": egrep, "fgrep": fgrep, "cut": cut, "tr": tr, "head": head,
    "tail": tail, "tac": tac, "zcat": zcat, "gzip": gzip_, "gunzip": gzip_,
    "sort": sort, "uniq": uniq, "wc": wc, "basename": basename, "dirname": dirname, "seq": seq, "expr": expr,
    "fold": cat_words, "fmt": cat_words, "cmp": cmp, "diff": cmp, "xargs": xargs, "md5sum": checksum("md5sum"),
    "base64": base64_, "sha1sum": checksum("sha1sum"),
    "sha256sum": checksum("sha256sum"),
}  # fmt: skip
