"""A table as data, and how its numbers look."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from _results import Row

KINDS = ("reliability", "generality", "locality")
TASKS = ("sst2", "cola", "mrpc", "rte", "mmlu", "gsm8k_test")
TASK_NAMES = dict(
    zip(TASKS, ("SST-2", "CoLA", "MRPC", "RTE", "MMLU", "GSM8K"), strict=True)
)  # fmt: skip
QUESTIONS = {
    "unrelated text before": "after 50 words about other things",
    "second turn": 'again after "Are you sure?"',
    "misspelling": "name misspelt",
    "lower case": "all in lower case",
    "two entities": "after another edited entity's fact",
    "several facts": "one of several facts of an entity",
    "yes": 'yes/no, the new fact: "yes"',
    "no": 'yes/no, the old fact: "no"',
    "negated": 'negated ("X is not"): not the new fact',
}
SIZES = (1, 10, 100, 1_000, 10_000)


@dataclass(frozen=True)
class Table:
    """Rows, and for each column its title and what it shows of a row."""

    rows: Callable[[], Iterable[Row]]
    columns: tuple[tuple[str, Callable[[Row], str]], ...]

    def __call__(self) -> str:
        table = [
            [title for title, _ in self.columns],
            ["---"] * len(self.columns),
            *([show(row) for _, show in self.columns] for row in self.rows()),
        ]
        return "\n".join(f"| {' | '.join(row)} |" for row in table)


def dec(value: float | None, places: int = 3) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def percent(value: float | None, places: int = 0) -> str:
    return "–" if value is None else f"{100 * value:.{places}f} %"


def short(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else f"{float(f'{value:.3g}'):,g}"


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1e3 * seconds:.0f} ms"
    return f"{seconds:.3g} s" if seconds < 180 else f"{seconds / 60:.0f} min"


def three(row: Row, *names: str, places: int = 2) -> str:
    return " / ".join(dec(row[name], places) for name in names)


def of(*path: Any, show: Callable[[Any], str] = dec) -> Callable[[Row], str]:
    """A column that shows what lies at a path of keys in the row."""

    def column(row: Row) -> str:
        value: Any = row
        for key in path:
            value = value[key]
        return show(value)

    return column


NAME: tuple[str, Callable[[Row], str]] = ("", of("name", show=str))
