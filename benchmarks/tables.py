"""Write every table of the documents from the results, so that text and numbers cannot part.

    python benchmarks/tables.py            writes
    python benchmarks/tables.py --check    tells which pages differ, and ends with 1

A page holds `<!-- table: NAME -->` and `<!-- end -->`; `TABLES[NAME]` makes what stands
between.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import _tables_architectures
import _tables_editors
import _tables_layers
import _tables_life
import _tables_lks
import _tables_long
import _tables_scope
import _tables_serving
import _tables_speed
import _tables_standard
from _record import program
from _results import ROOT

_MODULES = (
    *(_tables_editors, _tables_lks, _tables_speed, _tables_scope, _tables_layers),
    *(_tables_life, _tables_serving, _tables_architectures, _tables_standard, _tables_long),
)
TABLES = {name: make for module in _MODULES for name, make in module.TABLES.items()}
BLOCK = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def pages() -> list[Path]:
    """The documents that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """The page's text with each table as the results have it; KeyError for an unknown table."""
    return BLOCK.sub(
        lambda block: f"<!-- table: {block['name']} -->\n{TABLES[block['name']]()}\n<!-- end -->",
        text,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    used = {block["name"] for text in texts.values() for block in BLOCK.finditer(text)}
    problems = [f"no page has the table {name}" for name in TABLES if name not in used]
    for page, text in texts.items():
        if (made := filled(text)) == text:
            continue
        if options.check:
            problems.append(f"{page.relative_to(ROOT)} differs from the results: run `make tables`")
        else:
            page.write_text(made, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    program(main)
