"""The lists of platforms in the documentation, in units and in firewall rules, made from ``firstboot/platforms``.

``python -m tests.unit.docs.platform_lists`` writes them (``make reference``); a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from firstboot.platform_index import import_all, load_index

ROOT = Path(__file__).parents[3]
PLATFORMS = import_all()
INDEX = load_index()


def replace_table(text: str, header: str, rows: Iterable[Iterable[str]]) -> str:
    """A page with other rows in the table whose header line begins so."""
    before, head, after = text.partition(f"\n| {header}")
    titles, line, *old = after.splitlines(keepends=True)
    assert head
    kept = old[next(number for number, row in enumerate([*old, ""]) if not row.startswith("|")) :]
    new = [f"| {' | '.join(cells)} |\n" for cells in rows]
    return "".join([before, head, titles, line, *new, *kept])


def write_platforms_page(text: str) -> str:
    """``docs/platforms.md``: where the config is, and what the image needs."""
    configs = [
        (f"`{name}`", each.chosen or ("firmware" if each.firmware else "by name"), each.config)
        for name, each in PLATFORMS.items()
    ]
    text = replace_table(text, "platform | chosen", configs)
    return replace_table(
        text, "platform | needs", [(f"`{n}`", each.needs) for n, each in PLATFORMS.items() if each.needs]
    )


def write_metadata_page(text: str) -> str:
    """``docs/metadata.md``: attributes, and addresses of metadata services."""
    rows = []
    for name, platform in PLATFORMS.items():
        if platform.metadata is not None:
            names = ", ".join(f"`{attribute}`" for attribute in platform.metadata.attributes)
            has = (platform.metadata.has_hostname, platform.metadata.has_ssh_keys, platform.check_in is not None)
            rows.append((f"`{name}`", names, *("yes" if each else "no" for each in has)))
    addresses: dict[str, list[str]] = {}
    for address, whose in INDEX.addresses.items():
        addresses.setdefault(whose, []).append(f"`{address}`")
    text = replace_table(text, "platform | names", rows)
    return replace_table(text, "address | of", [(", ".join(each), whose) for whose, each in addresses.items()])


def write_guard(text: str) -> str:
    """The firewall rules that keep containers from metadata services."""
    for kind, is_fitting in (("ipv4", lambda address: ":" not in address), ("ipv6", lambda address: ":" in address)):
        elements = ", ".join(filter(is_fitting, INDEX.addresses))
        text = re.sub(rf"(type {kind}_addr\n\t\telements = )\{{[^}}]*\}}", rf"\1{{ {elements} }}", text)
    return text


def write_conditions(platforms: tuple[str, ...]) -> Callable[[str], str]:
    """A unit that is started on some platforms only: named on the command line, or shown by the firmware."""
    lines = [f"ConditionKernelCommandLine=|ignition.platform.id={name}\n" for name in platforms] + [
        f'ConditionFirmware=|smbios-field({field} =$ "{beginning}*")\n'
        for field, beginning, name in INDEX.firmware
        if name in platforms
    ]
    return lambda text: re.sub(r"(?:^Condition\w+=\|.*\n)+", lambda _: "".join(lines), text, flags=re.MULTILINE)


FILES: dict[str, Callable[[str], str]] = {
    "docs/platforms.md": write_platforms_page,
    "docs/metadata.md": write_metadata_page,
    "overlays/containers/usr/lib/build-os/metadata-guard.nft": write_guard,
    "units/metadata/afterburn.service": write_conditions(INDEX.with_metadata),
    "units/metadata/afterburn-sshkeys@.service": write_conditions(INDEX.with_metadata),
    "units/metadata/afterburn-checkin.service": write_conditions(INDEX.with_check_in),
}

if __name__ == "__main__":
    for name, write in FILES.items():
        path = ROOT / name
        path.write_text(write(path.read_text(encoding="utf-8")), encoding="utf-8")
