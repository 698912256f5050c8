"""Adding edits to a pack and taking them out: time of the work after the model is loaded.

    python benchmarks/changes.py counterfact-10000.pack zsre.jsonl
    python benchmarks/changes.py zsre-8000.pack zsre.jsonl --start 8000

Adds rows of a file, from --start on, to a copy of the pack: one, another one, a hundred, and four
that have nothing but their prompt; takes one out again; and makes blocks of up to 2,000 rows with
the hypernetwork alone (`--no-refine`). Scores are teacher-forced, plain, of the first 200 added.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _record import RESULTS, given, program

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.evaluation.metrics import share
from lks.evaluation.provenance import provenance
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads
from lks.packs import manifest
from lks.packs.pack import Pack, append

AMORTISED, SCORED = 2000, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=given)
    parser.add_argument("data", type=given)
    parser.add_argument("--start", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    rows, pack = EditSet.load(options.data), Pack.load(options.pack)
    backbone = Backbone.load(pack.base_model.name)
    result: dict[str, Any] = {
        "pack": options.pack.stem, "edits": len(pack.edits), "data": options.data.name,
        "start": options.start, **provenance(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.pack"
        shutil.copytree(options.pack, path)
        started = time.perf_counter()
        model = ScalpelModel(backbone, Pack.load(path))
        model.triggered([pack.edits[0].prompt])  # loads the sentence embedder
        result["load_seconds"] = round(time.perf_counter() - started, 3)
        new = rows[options.start :]
        result["add"] = [
            _add(path, model, new[:1], rows), _add(path, model, new[1:2], rows),
            _add(path, model, new[2:102], rows),
        ]  # fmt: skip
        alone = [replace(edit, paraphrases=(), locality=()) for edit in new[102:106]]
        result["add_by_prompt_alone"] = [_add(path, model, EditSet([e]), ()) for e in alone]
        started = time.perf_counter()
        manifest.remove(path, [new[0].id])
        result["remove_one_seconds"] = round(time.perf_counter() - started, 4)
        result["amortised"] = _add(path, model, new[106 : 106 + AMORTISED], rows, refine=False)
    out = RESULTS / f"changes-{options.pack.stem}-{options.data.stem}.json"
    RESULTS.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _add(
    path: Path, model: ScalpelModel, new: EditSet, pool: Sequence[Edit], *, refine: bool = True
) -> dict[str, Any]:
    started = time.perf_counter()
    model.add(new, pool=pool, refine=refine)
    append(path, new, model.blocks(new), model.exemplars(new))
    seconds = time.perf_counter() - started
    scored = new[:SCORED]
    scores = model.score([(edit.prompt, edit.target) for edit in scored])
    held_out = model.score([(text, edit.target) for edit in scored for text in edit.generality])
    return {
        "edits": len(new),
        "seconds": round(seconds, 2),
        "reliability": round(fmean(share(s.matches) for s in scores), 3),
        "generality": round(fmean(share(s.matches) for s in held_out), 3),
    }


if __name__ == "__main__":
    program(main)
