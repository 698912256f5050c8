"""The table of blocks at one layer or several."""

from __future__ import annotations

from _record import RESULTS
from _results import Row, read
from _table import Table, of, percent

KINDS = {"facts": "long values", "rows": "CounterFact"}
SHARES = {
    "own": "own prompt", "held_out": "other wordings", "unguarded": "own, unguarded",
    "unchanged": "neighbours unchanged",
}  # fmt: skip


def rows() -> list[Row]:
    """A row for each model and choice of layers."""
    found = [read(file.name) for file in sorted(RESULTS.glob("several_layers-*.json"))]
    return [
        {"model": own["model"], "name": name, "at": ", ".join(map(str, choice["layers"])), **choice}
        for own in found
        for name, choice in own["choices"].items()
    ]


_TABLE = Table(
    rows,
    (
        ("model", of("model", show=str)),
        ("layers", lambda row: f"{row['name']}: {row['at']}"),
        ("epochs", of("epochs", show=str)),
        *(
            (f"{told}: {title}", of(kind, share, show=percent))
            for kind, told in KINDS.items()
            for share, title in SHARES.items()
        ),
    ),
)


def several_layers() -> str:
    """What there is, and of how much it is."""
    found = [read(file.name) for file in sorted(RESULTS.glob("several_layers-*.json"))]
    if not found:
        return "There are no results yet: `benchmarks/several_layers.py` makes them."
    sizes = [
        f"{own['model']}: {own['facts']} facts with long values and {own['rows']} of CounterFact, "
        f"{own['seconds']:g} CPU seconds"
        for own in found
    ]
    return f"{_TABLE()}\n\n{'; '.join(sizes)}."


TABLES = {"several-layers": several_layers}
