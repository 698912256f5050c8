"""The main table: every editor, both data sets, from one edit to ten thousand.

    python benchmarks/main_table.py zsre.jsonl counterfact.jsonl --ability FOLDER

All editors with 1, 10 and 100 edits and three seeds; with 1,000 and 10,000 edits and one seed those
that take no more than a second or so an edit. At 1,000 edits and more the abilities are tested
too. Results, one cell after the other, and the report lie in --out; run again, it goes on. With
--done it only reports what is there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _record import RESULTS

from lks import bench
from lks.editor import EDITORS

SMALL, SEEDS = (1, 10, 100), (0, 1, 2)
LARGE = (1_000, 10_000)
ONE_BY_ONE = ("rome", "memit", "alphaedit", "lks-paper")  # values, or small steps, for each edit
TASKS = ("sst2", "rte", "mrpc", "cola", "mmlu", "gsm8k_test")


def cells(data: list[Path], abilities: Path | None, methods: list[str]) -> list[bench.Cell]:
    """In the order in which they are made: the small ones first."""
    tasks = tuple(str(abilities / f"{task}.jsonl") for task in TASKS) if abilities else ()
    small = [
        bench.Cell(method, str(file), size, seed)
        for size in SMALL for seed in SEEDS for file in data for method in methods
    ]  # fmt: skip
    large = [
        bench.Cell(method, str(file), size, abilities=tasks)
        for size in LARGE for file in data for method in methods if method not in ONE_BY_ONE
    ]  # fmt: skip
    return small + large


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--ability", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(EDITORS))
    parser.add_argument("--done", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "table")
    options = parser.parse_args()
    chosen = cells(options.data, options.ability, options.methods)
    if options.done:
        chosen = [cell for cell in chosen if (options.out / f"{cell.name}.json").exists()]

    def on_cell(name: str, done: int, of: int, left: float) -> None:
        print(f"{name}: {done} of {of}; about {left / 3600:.1f} h left", flush=True)

    for file in bench.report(chosen, bench.run(chosen, options.out, on_cell), options.out):
        print(f"wrote {file}")


if __name__ == "__main__":
    main()
