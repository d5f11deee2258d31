"""``update-catalog --update-super``: the catalog of all SGML catalogs below ``/etc/sgml``."""

from __future__ import annotations

import re

from builder.debian.handlers.work import Work
from builder.tree.node import Kind, file

ORIGIN = "stage:packages"
PROGRAM = "/usr/sbin/update-catalog"
CATALOGS = "/etc/sgml"
SUPER = "/var/lib/sgml-base/supercatalog"
HEAD = (
    "--\n## This file is created by update-catalog with update-super.\n"
    "## Please see update-catalog(8) for how to modify this file.\n--\n"
)
_TOKEN = re.compile(r"""((?:\s+|--.*?--)+|'.*?'|".*?"|\S+)""", re.S)


def install_sgml_catalog(work: Work) -> None:
    """Name every catalog whose own entries are there."""
    if not work.has(PROGRAM) or not work.has(CATALOGS):
        return
    names = sorted(n for n in work.tree.children(CATALOGS) if n.endswith(".cat") and not n.startswith("."))
    whole = [f"{CATALOGS}/{name}" for name in names if _is_whole(work, f"{CATALOGS}/{name}")]
    work.tree.put(SUPER, file(HEAD + "".join(f"CATALOG {path}\n" for path in whole), origin=ORIGIN))


def _is_whole(work: Work, catalog: str) -> bool:
    """Whether all catalogs that this one names are there."""
    node = work.tree.get(catalog, follow=True)
    if node is None or node.kind is not Kind.FILE:
        return False
    base, expected = catalog.rpartition("/")[0], ""
    for token in _TOKEN.findall(node.content.read().decode(errors="replace")):
        if not expected:
            expected = token.lower() if token.lower() in ("catalog", "base") else ""
            continue
        if token[0].isspace() or token.startswith("--"):
            continue
        value = token[1:-1] if token[0] in "'\"" else token
        if expected == "base":
            base = value
        elif not work.has(value if value.startswith("/") else f"{base}/{value}"):
            return False
        expected = ""
    return True
