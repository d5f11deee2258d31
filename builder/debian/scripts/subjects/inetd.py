"""update-inetd(8): the services of ``/etc/inetd.conf``. It adds nothing where no super-server brings that file.

Source: ``DebianNet.pm`` of update-inetd.
"""

from __future__ import annotations

import re

from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import NotModelled

CONF = "/etc/inetd.conf"
OFF = "#<off># "
MODES = ("add", "enable", "disable", "remove")


def update_inetd(shell: Shell, arguments: list[str]) -> Status:
    """``update-inetd --add line [--group G]``, ``--enable``, ``--disable`` and ``--remove service``."""
    options = read_options(
        "update-inetd", arguments, "multi verbose debug", "file group comment-chars pattern " + " ".join(MODES)
    )
    given = [mode for mode in MODES if mode in options]
    if len(given) != 1 or options.operands:
        raise NotModelled("update-inetd")
    path = shell.resolve_path(options.get("file") or CONF)
    text = shell.system.read(path)
    if text is None:
        return 0
    off, value = options.get("comment-chars") or OFF, options.given[given[0]]
    lines = text.splitlines()
    if given[0] == "add":
        lines = _added(lines, value.replace("\\t", "\t"), (options.get("group") or "OTHER").upper(), off)
    else:
        for service in value.split(",") if given[0] != "remove" else [value]:
            lines = _changed(lines, given[0], service, options.get("pattern") or "", off)
    changed = "".join(f"{line}\n" for line in lines)
    if changed != text:
        shell.system.write(path, changed)
    return 0


def _added(lines: list[str], entry: str, group: str, off: str) -> list[str]:
    """A line at the end of its group, or of the file; one that is there is enabled, or left to who commented it out."""
    service = re.escape(re.split(r"\s", entry.removeprefix(off).removeprefix("#"), maxsplit=1)[0])
    if any(re.match(f"{re.escape(off)}{service}\\s", line) for line in lines):
        return [re.sub(f"^{re.escape(off)}(?={service}\\s)", "", line) for line in lines]
    if any(re.match(f"#?\\s*{service}\\s", line) for line in lines):
        return lines
    result, inside, done = [], False, False
    for line in lines:
        inside = inside or line.startswith(f"#:{group}:")
        if inside and not done and not re.search("[a-zA-Z#]", line):
            result.append(entry)
            inside, done = False, True
        result.append(line)
    return result if done else [*result, entry]


def _changed(lines: list[str], mode: str, service: str, pattern: str, off: str) -> list[str]:
    def fits(line: str, before: str) -> bool:
        return bool(re.match(f"{before}{service}\\s", line)) and (not pattern or bool(re.search(pattern, line)))

    try:
        if mode == "enable":
            return [line.removeprefix(off) if fits(line, re.escape(off)) else line for line in lines]
        if mode == "disable":
            return [off + line if fits(line, "") else line for line in lines]
        return [line for line in lines if not fits(line, f"(?:{re.escape(off)})?")]
    except re.error as error:
        raise NotModelled(f"the pattern {service} {pattern}") from error


COMMANDS = make_models({"update-inetd": update_inetd})
