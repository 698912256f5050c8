"""The table of long texts about edited entities."""

from __future__ import annotations

from collections.abc import Callable

from _record import RESULTS
from _results import METHODS, Row, read
from _table import Table, dec, of, percent

KINDS = {"open": "open request", "asked": "asked for the fact"}
NAMES = {
    "unedited": "unedited", "told": "the fact in the prompt",
    "lks": "LKS, prompts only", "lks own": "LKS, its own words too",
    **{method: name for method, name in METHODS.items() if method not in ("lks", "unedited")},
}  # fmt: skip


def rows() -> list[Row]:
    """A row for each method of each kind of request, a model after the other."""
    made = [read(file.name) for file in sorted(RESULTS.glob("long_texts-*.json"))]
    return [
        {"model": result["model"], "kind": told, "name": NAMES[method], **own["kinds"][kind]}
        for result in sorted(made, key=lambda one: one["model"], reverse=True)
        for kind, told in KINDS.items()
        for method in NAMES
        if (own := result["methods"].get(method))
    ]  # fmt: skip


def shown() -> str:
    columns = (
        *(("model", of("model", show=str)), ("request", of("kind", show=str))),
        *(("", of("name", show=str)), ("texts", of("texts", show=str))),
        ("new fact stated", of("new", show=percent)),
        ("old value in it", of("old", show=percent)),
        ("fired", of("fires", show=percent)),
        ("names kept", of("kept", show=percent)),
        ("words, of the unedited", of("words", show=lambda value: dec(value, 2))),
        ("repeats", of("repeats", show=percent)),
    )
    return Table(rows, columns)()


TABLES: dict[str, Callable[[], str]] = {"long-texts": shown}
