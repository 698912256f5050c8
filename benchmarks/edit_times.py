"""What an edit costs in time: all editors, one after the other, in one run.

    python benchmarks/edit_times.py counterfact.jsonl

A hundred edits each, on a machine that does nothing else. Key statistics of ROME, MEMIT and
AlphaEdit, which are computed once for a model, do not count.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from _record import RESULTS, given, program

from lks.editors.registry import EDITORS
from lks.evaluation.bench import run
from lks.evaluation.provenance import provenance
from lks.evaluation.results import Cell, CellResult


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=given)
    parser.add_argument("--edits", type=int, default=100)
    options = parser.parse_args()
    data, methods = str(options.data), [name for name in EDITORS if name != "unedited"]
    cells = [Cell(name, data, options.edits, rows=1, chat_rows=1) for name in methods]
    with TemporaryDirectory() as out:
        rows = run.run(cells, Path(out), lambda name, *told: print(name, flush=True))
    made = [row for row in rows if isinstance(row, CellResult)]
    each = {row.cell.method: row.edit_seconds_each for row in made}
    result = {
        "data": options.data.name, "edits": options.edits, "seed": 0, "seconds_an_edit": each,
        "times_lks": {name: round(seconds / each["lks"], 3) for name, seconds in each.items()},
        **provenance(),
    }  # fmt: skip
    out_file = RESULTS / f"edit_times-{options.data.stem}-{options.edits}.json"
    out_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    program(main)
