"""The catalogue in the documentation: ``make reference`` writes these tables, and a test compares them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from builder.products.catalogue import DEFAULT, SYSTEM_PRODUCTS


def write_readme(page: str) -> str:
    """README.md with the rows about products in the table of what a build leaves."""
    rows = []
    for name, product in SYSTEM_PRODUCTS.items():
        default = ", the default" if name == DEFAULT else ""
        rows.append(f"| `{product.make_file_name('NAME')}` | `{name}`{default} | {product.used_by} |")
    return replace_rows(page, rows)


def write_outputs(page: str) -> str:
    """``docs/outputs.md`` with a row for each product."""
    rows = []
    for name, product in SYSTEM_PRODUCTS.items():
        file = product.make_file_name("NAME")
        rows.append(f"| `{name}` | `{file}` | {product.made_as} | {product.used_by} | {product.disk_rule} |")
    return replace_rows(page, rows)


TABLES: Mapping[str, Callable[[str], str]] = {"README.md": write_readme, "docs/outputs.md": write_outputs}


def replace_rows(page: str, rows: Sequence[str]) -> str:
    """The page with ``rows`` in place of those whose first two cells are the names of a product and of its file."""

    def is_row(line: str) -> bool:
        cells = [cell.strip().partition(",")[0] for cell in line.split("|")]
        names = [cell.strip("`") for cell in cells[1:3] if cell.startswith("`")]
        return len(names) == 2 and any(name in SYSTEM_PRODUCTS for name in names)

    def write_lines() -> Iterator[str]:
        for of_products, lines in groupby(page.split("\n"), is_row):
            yield from rows if of_products else lines

    return "\n".join(write_lines())


if __name__ == "__main__":
    for file_name, write in TABLES.items():
        path = Path(sys.argv[1], file_name)
        path.write_text(write(path.read_text(encoding="utf-8")), encoding="utf-8")
