"""The committed results, read once, and which of them have a known flaw."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from typing import Any

from _record import RESULTS

from lks.evaluation.bench import report
from lks.evaluation.results import CellResult

ROOT = RESULTS.parent.parent
DEFAULT, LARGER = "smollm2-135m", "qwen2.5-coder-1.5b"
DATA = {"zsre": "ZsRE", "counterfact": "CounterFact"}
METHODS = {
    "lks": "**LKS**",
    "inject": "fact in the prompt, by LKS's scope",
    "rag": "RAG",
    "ike": "IKE",
    "grace": "GRACE",
    "ft": "fine-tuning",
    "lora": "LoRA",
    "rome": "ROME",
    "memit": "MEMIT",
    "alphaedit": "AlphaEdit",
    "lks-paper": "LKS, the paper's settings",
    "unedited": "unedited model",
}
# Cells of the comparison whose training texts could hold a scored paraphrase with another article;
# made before commit 6f5887c of 28 November 2026. See docs/benchmarks/protocol.md.
LEAKY = frozenset(
    [
        ("ft", "zsre", 10_000), ("ft", "counterfact", 9_919), ("ike", "zsre", 10_000),
        ("lora", "zsre", 10_000), ("lora", "counterfact", 9_919),
        *(("lks-paper", data, size) for data in DATA for size in (1, 10, 100)),
    ]
)  # fmt: skip

Row = dict[str, Any]


@cache
def read(name: str) -> Any:
    """A result file by its path below the repository, or below `benchmarks/results`."""
    file = RESULTS / name
    return json.loads((file if file.exists() else ROOT / name).read_text(encoding="utf-8"))


def lines(name: str) -> list[Row]:
    """The rows of a JSONL file below the repository."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@cache
def comparison(model: str = DEFAULT) -> tuple[Row, ...]:
    """A row a method, data set and size; means over seeds, the best EP first."""
    files = sorted((RESULTS / f"table-{model}").glob("*.json"))
    made = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    rows = [_flat(row) for row in report.rows_of(map(CellResult.from_json, made))]
    for row in rows:
        row["data"] = row["data"].partition(".")[0]
        made_of = row["method"], row["data"], row["size"]
        row["leaky"] = model == DEFAULT and made_of in LEAKY
        row["name"] = METHODS[row["method"]] + (" †" if row["leaky"] else "")
    return tuple(rows)


def _flat(row: report.Row) -> Row:
    """The row with a key for each number that tables show."""
    flat = asdict(row)
    for name, start in (("forced", ""), ("free", "free_"), ("chat", "chat_")):
        flat |= {start + kind: value for kind, value in flat.pop(name).items()}
    stated = flat.pop("contained")
    return flat | {"contained": stated["reliability"], "contained_generality": stated["generality"]}


def cells(data: str, size: int, methods: Iterable[str] = METHODS) -> list[Row]:
    """The comparison's rows of one table."""
    return [
        row for row in comparison()
        if (row["data"], row["size"]) == (data, size) and row["method"] in methods
    ]  # fmt: skip


def cell(method: str, data: str, size: int) -> Row:
    """One row of the comparison."""
    (row,) = cells(data, size, [method])
    return row


def quality() -> list[Row]:
    """The results of `edit_quality.py` with default settings, by data set and number of edits."""
    files = RESULTS.glob("edit_quality-*-default.json")
    rows = [read(file.name) for file in files]
    for row in rows:
        data = row["data"].partition(".")[0]
        row["leaky"] = (data, row["limit"]) == ("zsre", 1_000)
        row["name"] = f"{DATA[data]}, {row['limit']:,}" + (" †" if row["leaky"] else "")
    return sorted(rows, key=lambda row: (row["data"], row["limit"]))
