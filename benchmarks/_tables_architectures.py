"""The table of architectures: what came of each family of the survey."""

from __future__ import annotations

from collections import Counter

from _results import Row, read
from _table import Table, of


def families() -> list[Row]:
    rows: list[Row] = read("architectures.json")["families"]
    return rows


def counts() -> list[Row]:
    rows = families()
    return [
        {
            "kind": kind,
            "families": sum(1 for row in rows if row["kind"] == kind),
            **Counter(_outcome(row) for row in rows if row["kind"] == kind),
        }
        for kind in ("decoder", "encoder-decoder")
    ]


def _outcome(row: Row) -> str:
    if row["refused"] is not None:
        return "refused"
    return "passed" if row["passed"] else "failed"


def _what(row: Row) -> str:
    """What was run, and what came of it."""
    if row["refused"] is not None:
        return f"refused: {row['refused'].partition(': ')[2]}"
    failed = [f"{name} {own}" for name, own in row["steps"].items() if own != "pass"]
    return "; ".join(failed) or "all six steps pass"


TABLES = {
    "architecture-counts": Table(
        counts,
        (
            ("models", of("kind", show=lambda kind: f"{kind}s")),
            ("families", of("families", show=str)),
            ("all steps pass", lambda row: str(row.get("passed", 0))),
            ("refused with the reason", lambda row: str(row.get("refused", 0))),
            ("something fails", lambda row: str(row.get("failed", 0))),
        ),
    ),
    "architectures": Table(
        families,
        (
            ("family", of("name", show=str)),
            ("class of transformers", of("model", show=lambda name: f"`{name}`")),
            ("engine", lambda row: row["engine"] or "–"),
            ("result", _what),
        ),
    ),
}
