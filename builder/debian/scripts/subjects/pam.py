"""``pam-auth-update(8)``: the ``/etc/pam.d/common-*`` files from the profiles that packages ship."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from builder.debian.scripts.subjects.generated import note_generated
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.node import make_file

PROFILES = "/usr/share/pam-configs"
TEMPLATES = "/usr/share/pam"
# A line of pam.conf(5) after its type: a control, which may be in brackets, with the module; and the options.
MODULE = re.compile(r"((?:\[[^\]]*\]|\S+)\s+\S+)(?:\s+(.*))?")
FILES = {
    "auth": "common-auth",
    "account": "common-account",
    "password": "common-password",
    "session": "common-session",
    "session-noninteractive": "common-session-noninteractive",
}


@dataclass
class Profile:
    """One file of ``pam-configs``: which module lines it adds to which stack."""

    name: str
    priority: int = 0
    default: bool = False
    interactive_only: bool = False
    kinds: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)


def parse(name: str, text: str) -> Profile:
    """Read a profile: ``Field: value`` with continuation lines that start with white space."""
    profile = Profile(name)
    current = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t") and current:
            profile.lines.setdefault(current, []).append(line.strip())
            continue
        key, _, value = line.partition(":")
        current = ""
        value = value.strip()
        match key.strip().removesuffix("-Final"):  # what some profiles still call "Auth-Final" is "Auth"
            case "Priority":
                # strtol(3), as Perl numifies: what is no number is 0.
                profile.priority = int(match[0]) if (match := re.match(r"-?[0-9]{1,9}", value)) else 0
            case "Default":
                profile.default = value == "yes"
            case "Session-Interactive-Only":
                profile.interactive_only = value == "yes"
            case other if other.endswith("-Type"):
                profile.kinds[other.removesuffix("-Type").lower()] = value
            case other:
                current = other.lower()
                if value:
                    profile.lines.setdefault(current, []).append(value)
    return profile


def stack(profiles: Sequence[Profile], kind: str, block: str) -> str:
    """The lines of one stack's primary or additional block, ``end`` jumps counted out as pam-auth-update does."""
    base = kind.removesuffix("-noninteractive")
    chosen = [
        p
        for p in profiles
        if p.kinds.get(base) == block and not (kind == "session-noninteractive" and p.interactive_only)
    ]
    modules: list[str] = []
    for position, profile in enumerate(chosen):
        initial = profile.lines.get(f"{base}-initial")
        modules.extend(initial if position == 0 and initial is not None else profile.lines.get(base, []))
    result = ""
    for position, line in enumerate(modules):
        # Past the fallback that follows the primary block; nothing follows the additional one.
        jump = len(modules) - position - (block == "Additional")
        line = re.sub(r"(?<==)end\b", str(jump), line)
        # pam-auth-update joins module and options by one space, whether there are options or not.
        if words := MODULE.fullmatch(line):
            line = f"{words[1]} {' '.join((words[2] or '').split())}"
        result += f"{base}\t{line}\n"
    return result


def install_profiles(work: Work) -> None:
    """Fill the templates with the profiles that are on by default, highest priority first, then last name first."""
    tree = work.tree
    if not work.has(PROFILES) or not work.has(TEMPLATES):
        return
    profiles = [parse(name, tree.read_text(f"{PROFILES}/{name}")) for name in tree.list_children(PROFILES)]
    profiles = sorted((p for p in profiles if p.default), key=lambda p: (p.priority, p.name), reverse=True)
    for kind, name in FILES.items():
        template = tree.read_text(f"{TEMPLATES}/{name}")
        base = kind.removesuffix("-noninteractive")
        for block in ("Primary", "Additional"):
            text = stack(profiles, kind, block)
            if not text and block == "Primary":
                text = f"{base}\t[default=1]\t\t\tpam_permit.so\n"
            marker = f"${base if kind == base else 'session_nonint'}_{block.lower()}"
            template = re.sub(rf"^{re.escape(marker)}\n?", lambda _, new=text: new, template, flags=re.M)  # type: ignore[misc]  # mypy cannot type the default argument
        tree.put(f"/etc/pam.d/{name}", make_file(template, origin=ORIGIN))


COMMANDS = note_generated({
    "pam-auth-update": "PAM profiles are written when all packages are in",
})  # fmt: skip
