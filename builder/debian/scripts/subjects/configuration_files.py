"""Configuration files: ucf(1) puts them in place and knows whose they are; some are an installer's."""

from __future__ import annotations

import re

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import NotModelled, copy_node
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.node import Kind, make_file


def ucf(shell: Shell, arguments: list[str]) -> Status:
    """``ucf new destination``: the new file is taken where none is; ucf(1) keeps its hash."""
    flags = "three-way debconf-ok debconf-template sum-file h help purge p n no-action v verbose Z state-dir d"
    options = read_options(
        "ucf",
        ["--three-way" if a == "-three-way" else a for a in arguments if not re.fullmatch(r"--debug=.*|-d[0-9]?", a)],
        flags.replace(" sum-file", "").replace(" debconf-template", "").replace(" state-dir", ""),
        "src-dir sum-file debconf-template state-dir debug",
    )
    if "purge" in options or "p" in options or len(options.operands) != 2:
        return 0
    source, target = (shell.resolve_path(name) for name in options.operands)
    there = shell.system.get(source)
    if there is None or there.kind is not Kind.FILE:
        raise NotModelled(f"ucf of {source}, which is not there")
    target = shell.system.tree.resolve(target)
    if shell.system.get(target) is None:
        shell.system.put(target, copy_node(there).copy_with(origin=shell.system.origin, uid=0, gid=0))
        shell.system.record(EffectKind.FILE, target, f"a copy of {source}")
    shell.system.record(EffectKind.CONFIGURATION, target, "", source)
    return 0


def ucfr(shell: Shell, arguments: list[str]) -> Status:
    """``ucfr package file``: whose configuration file it is."""
    options = read_options(
        "ucfr",
        [a for a in arguments if not re.fullmatch(r"--debug=.*", a)],
        "p v f h n purge force verbose",
        "state-dir",
    )
    if len(options.operands) == 2 and not {"p", "purge"} & options.given.keys():
        shell.system.record(
            EffectKind.CONFIGURATION, options.operands[1], f"of {options.operands[0]}", "", options.operands[0]
        )
    return 0


def ucfq(shell: Shell, arguments: list[str]) -> Status:
    """``ucfq [-w] file ...``: no package has registered a file that is asked about on a first installation."""
    return 0


FSTAB = "# The root, /etc and /var are mounted by the initrd. See docs/boot.md.\n"


def install_defaults(work: Work) -> None:
    """``/etc/fstab``, which some programs miss when it is not there."""
    if work.has("/usr/lib/systemd/systemd") and "/etc/fstab" not in work.tree:
        work.tree.put("/etc/fstab", make_file(FSTAB, origin=ORIGIN))


COMMANDS = make_models({"ucf": ucf, "ucfr": ucfr, "ucfq": ucfq})
