"""The main table: every editor, both data sets, from one edit to ten thousand.

    python benchmarks/main_table.py zsre.jsonl counterfact.jsonl --ability FOLDER

All editors with 1, 10 and 100 edits and three seeds; with one seed all but ROME with 1,000, and
with 10,000 those that take less than a second an edit. From 1,000 edits on the abilities are tested
too. Results, one cell after the other, and the report lie in --out, a folder for each --model; run
again, it goes on. With --sizes, --seeds and --methods it makes some of the cells, and reports all
that are there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _record import RESULTS, called, given, program

from lks.editors.registry import EDITORS
from lks.edits.edit_set import EditSet
from lks.evaluation.bench import run
from lks.evaluation.bench.cells import report
from lks.evaluation.results import Cell

SMALL, SEEDS = (1, 10, 100), (0, 1, 2)
LARGE = (1_000, 10_000)
TRIALS = {1: 10, 10: 5, 100: 1}  # sets of edits, one after the other
SLOW = {"rome": 100, "memit": 1_000, "alphaedit": 1_000, "lks-paper": 1_000}  # edits at most
TASKS = ("sst2", "rte", "mrpc", "cola", "mmlu", "gsm8k_test")


def cells(data: list[Path], abilities: Path | None, model: str, dtype: str) -> list[Cell]:
    """In the order in which they are made: the first seed first, and the small ones."""
    tasks = tuple(str(abilities / f"{task}.jsonl") for task in TASKS) if abilities else ()
    rows = {file: len(EditSet.load(file)) for file in data}  # CounterFact has not quite 10,000
    small = [
        Cell(method, str(file), size, seed, model, trials=TRIALS[size], dtype=dtype)
        for seed in SEEDS for size in SMALL for file in data for method in EDITORS
    ]  # fmt: skip
    large = [
        Cell(method, str(file), min(size, rows[file]), model=model, abilities=tasks, dtype=dtype)
        for size in LARGE for file in data for method in EDITORS
        if size <= SLOW.get(method, size)
    ]  # fmt: skip
    return small + large


def _size(edits: int) -> int:
    """The size of the table that a cell of so many edits stands for."""
    return min(size for size in (*SMALL, *LARGE) if size >= edits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=given)
    parser.add_argument("--ability", type=given)
    parser.add_argument("--methods", nargs="+", default=list(EDITORS), choices=EDITORS)
    parser.add_argument("--sizes", nargs="*", type=int, default=[*SMALL, *LARGE])
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = options.out or RESULTS / f"table-{called(options.model)}"

    def on_cell(name: str, done: int, of: int, left: float | None) -> None:
        time = "no time known yet" if left is None else f"about {left / 3600:.1f} h left"
        print(f"{name}: {done} of {of}; {time}", flush=True)

    every = cells(options.data, options.ability, options.model, options.dtype)
    chosen = [
        cell for cell in every
        if cell.method in options.methods and _size(cell.size) in options.sizes
        and cell.seed in options.seeds
    ]  # fmt: skip
    summaries = run.run(chosen, out, on_cell)
    for file in report(summaries, out, options.data):
        print(f"wrote {file}")


if __name__ == "__main__":
    program(main)
