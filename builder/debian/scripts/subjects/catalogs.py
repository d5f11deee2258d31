"""Catalogs that say where a document's definitions are: update-xmlcatalog(8) and update-catalog(8), both in Perl.

The entries of an XML catalog are written in order, as ``--sort`` has it; without that option the original has them in
an order that differs from run to run.
"""

from __future__ import annotations

import re

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import Options, read_options
from builder.debian.scripts.target_system import NotModelled
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.node import Kind, make_file

DATA = "/var/lib/xml-core"
CATALOGS = "/etc/xml"
PARTS = "/usr/share/xml-core/catalog."
_ROW = re.compile(r"<([^>]*)><([^>]*)>")


def update_xmlcatalog(shell: Shell, arguments: list[str]) -> Status:
    """``update-xmlcatalog --add|--del --type T --id ID`` with ``--root --package P``, ``--package P --local F`` or
    ``--local F --file F``."""
    options = read_options(
        "update-xmlcatalog", arguments, "add del root sort verbose", "file id local package type", mixed=False
    )
    kind, entity = options.get("type"), options.get("id")
    if kind not in ("public", "system", "uri") or entity is None or ("add" in options) == ("del" in options):
        return 1
    target = _target(options)
    if target is None:
        return 1
    data, catalog, delegate, attribute, leads_to = target
    needed = leads_to.removeprefix("file://")
    if "add" in options and not _is_file(shell, needed):
        return 1
    starts = "StartString" if delegate else ""
    named = f"{kind}Id{starts}" if kind != "uri" else "uriStartString" if delegate else "name"
    element = f"delegate{'URI' if kind == 'uri' else kind.capitalize()}" if delegate else kind
    rows = dict(_ROW.findall(shell.system.read(data) or ""))
    key, entry = f'{element} {named}="{entity}"', f'{attribute}="{leads_to}"'
    if "add" in options:
        if rows.setdefault(key, entry) != entry:
            return 1
    elif rows.pop(key, None) is None:
        return 1
    _write(shell, data, catalog, rows)
    return 0


def _target(options: Options) -> tuple[str, str, bool, str, str] | None:
    """Data file, catalog, whether its entries lead to other catalogs, the attribute that does, and what it says."""
    package, local, name = options.get("package"), options.get("local"), options.get("file")
    if "root" in options:
        return f"{DATA}/catalog", f"{CATALOGS}/catalog", True, "catalog", f"file://{CATALOGS}/{package}.xml"
    if package is not None:
        return f"{DATA}/{package}", f"{CATALOGS}/{package}.xml", True, "catalog", f"file://{local or ''}"
    if local is not None:
        return f"{DATA}/{local.replace('/', '_')}", local, False, "uri", name or ""
    return None


def _is_file(shell: Shell, path: str) -> bool:
    node = shell.system.get(shell.resolve_path(path)) if path else None
    return node is not None and node.kind is Kind.FILE


def _write(shell: Shell, data: str, catalog: str, rows: dict[str, str]) -> None:
    header, footer = (shell.system.read(PARTS + part) for part in ("header", "footer"))
    if header is None or footer is None:
        raise NotModelled("update-xmlcatalog without xml-core's header")
    if not rows:
        shell.system.remove(data)
        shell.system.remove(catalog)
        return
    shell.system.write(data, "".join(f"<{key}><{rows[key]}>\n" for key in sorted(rows)))
    shell.system.write(catalog, header + "".join(f"<{key} {rows[key]}/>\n" for key in sorted(rows)) + footer)


def update_catalog(shell: Shell, arguments: list[str]) -> Status:
    """``update-catalog --add|--remove CATALOG ENTRY``, and the catalog of all catalogs, which its handler makes."""
    options = read_options("update-catalog", arguments, "quiet add remove super update-super")
    if "update-super" in options or "super" in options:
        shell.system.record(
            EffectKind.GENERATED, "update-catalog", "the catalog of catalogs is made when all packages are in"
        )
        return 0
    if ("add" in options) == ("remove" in options) or len(options.operands) != 2:
        raise NotModelled("update-catalog")
    catalog, entry = options.operands
    text = shell.system.read(shell.resolve_path(catalog))
    if text is None:
        template = shell.system.read("/usr/share/sgml-base/catalog.centralized") or ""
        text = template.replace("CATALOG", catalog)
    kept = [line for line in text.splitlines() if entry not in line]
    added = [f"CATALOG {entry}"] if "add" in options else []
    shell.system.write(shell.resolve_path(catalog), "".join(f"{line}\n" for line in (*kept, *added)))
    return 0


PROGRAM = "/usr/sbin/update-catalog"
SGML_CATALOGS = "/etc/sgml"
SUPER = "/var/lib/sgml-base/supercatalog"
HEAD = (
    "--\n## This file is created by update-catalog with update-super.\n"
    "## Please see update-catalog(8) for how to modify this file.\n--\n"
)
_TOKEN = re.compile(r"""((?:\s+|--.*?--)+|'.*?'|".*?"|\S+)""", re.S)


def install_sgml_catalog(work: Work) -> None:
    """Name every catalog whose own entries are there."""
    if not work.has(PROGRAM) or not work.has(SGML_CATALOGS):
        return
    names = sorted(n for n in work.tree.list_children(SGML_CATALOGS) if n.endswith(".cat") and not n.startswith("."))
    whole = [f"{SGML_CATALOGS}/{name}" for name in names if _is_whole(work, f"{SGML_CATALOGS}/{name}")]
    work.tree.put(SUPER, make_file(HEAD + "".join(f"CATALOG {path}\n" for path in whole), origin=ORIGIN))


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


COMMANDS = make_models({"update-xmlcatalog": update_xmlcatalog, "update-catalog": update_catalog})
