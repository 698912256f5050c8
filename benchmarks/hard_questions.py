"""The hard questions of `lks robustness`, asked of every editor with the same edits in force.

    python benchmarks/hard_questions.py counterfact.jsonl

The edits and their training wordings are those of a cell of the main table. Writes, for each kind
of question, the shares of right answers before and after the edits, and of prompts that fired;
--cases keeps every question and answer too. A method that is there is not asked again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from _record import RESULTS, given, kept, program

from lks.editors.registry import EDITORS
from lks.evaluation.bench.cached_base import CachedBase
from lks.evaluation.bench.run import editor_of, groups_of
from lks.evaluation.provenance import provenance
from lks.evaluation.results import Cell, HardScores
from lks.evaluation.robustness import cases, compare
from lks.evaluation.runner import answer_limit
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=given)
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--methods", nargs="+", default=list(EDITORS), choices=EDITORS)
    parser.add_argument("--cases", type=Path, help="a folder for questions and answers")
    options = parser.parse_args()
    if options.cases:
        options.cases.mkdir(parents=True, exist_ok=True)  # before any work
    torch.set_num_threads(default_threads())
    out = RESULTS / f"hard_questions-{options.data.stem}-{options.edits}.json"
    same = {"data": options.data.name, "edits": options.edits, "limit": options.limit, "seed": 0}
    result = kept(out, same) or {**same, "methods": {}}
    backbone = Backbone.load("smollm2-135m")
    with TemporaryDirectory() as folder:
        base = CachedBase(backbone, Path(folder) / "unedited.cache")
        for method in options.methods:
            if method in result["methods"]:
                continue
            cell = Cell(method, str(options.data), options.edits)
            rows = _asked(cell, base, options.limit, Path(folder))
            if options.cases:
                told = json.dumps([row.to_json() for row in rows], ensure_ascii=False, indent=1)
                (options.cases / f"{out.stem}-{method}.json").write_text(told, encoding="utf-8")
            shares = {row.kind: {"n": row.n, "before": row.before, "after": row.after,
                                 "fired": row.fired} for row in rows}  # fmt: skip
            result["methods"][method] = {"kinds": shares, **provenance()}
            out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            print(method, shares, flush=True)


def _asked(cell: Cell, base: CachedBase, limit: int, folder: Path) -> list[HardScores]:
    edits, pool = next(groups_of(cell))
    method = editor_of(cell, pool, folder, 0)
    asked, most = cases(edits, limit=limit), answer_limit(base.backbone, edits, 32)
    with method.apply(base.backbone, edits) as model:
        return compare(base, model, asked, max_new_tokens=most)


if __name__ == "__main__":
    program(main)
