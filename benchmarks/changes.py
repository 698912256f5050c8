"""Times adding to and removing from a large pack.

    python benchmarks/changes.py zsre.jsonl --trained benchmarks/packs/zsre-1000-default.pack

The pack holds the first rows of the file, with the blocks and the hypernetwork of a trained pack of
the same file; rows that it does not have get blocks of zeros, for how long a change takes does not
depend on their values. Later rows are added and scored, with refinement and amortised.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _record import RESULTS, environment

from lks import versions
from lks.backbone import Backbone, default_threads
from lks.edits import EditSet
from lks.embedder import Embedder
from lks.evaluation.metrics import share
from lks.pack import Pack, append
from lks.scalpel import GATE_WORDINGS, ScalpelModel
from lks.training.gate import learn
from lks.training.prompts import training_prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--edits", type=int, default=8900)
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    backbone = Backbone.load(options.model)
    rows = EditSet.load(options.data)
    trained = Pack.load(options.trained)
    result: dict[str, Any] = {
        "data": options.data.name, "edits": options.edits, "trained": len(trained.edits),
        **environment(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.pack"
        _large(trained, rows[: options.edits], rows).save(path)
        started = time.perf_counter()
        model = ScalpelModel(backbone, Pack.load(path))
        result["load_seconds"] = round(time.perf_counter() - started, 3)
        new = rows[options.edits :]
        result["amortised"] = _add(path, model, new[:1000], rows, refine=False)
        model.remove([edit.id for edit in new[:1000]])
        versions.rollback(path)
        result["add"] = [
            _add(path, model, new[:1], rows), _add(path, model, new[1:2], rows),
            _add(path, model, new[2:102], rows),
        ]  # fmt: skip
        started = time.perf_counter()
        versions.remove(path, [rows[0].id])
        result["remove_one_seconds"] = round(time.perf_counter() - started, 4)
    out = RESULTS / f"changes-{options.data.stem}-{options.edits}.json"
    RESULTS.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _large(trained: Pack, edits: EditSet, pool: EditSet) -> Pack:
    """The pack with blocks of zeros for the edits that it does not have, and their references."""
    own = dict(zip((edit.id for edit in trained.edits), trained.blocks, strict=True))
    nothing = torch.zeros(trained.blocks.shape[1])
    blocks = torch.stack([own.get(edit.id, nothing) for edit in edits])
    gate = trained.gate
    if gate is not None:
        prompts, _ = training_prompts(edits, pool, most=GATE_WORDINGS)
        _, references = learn(Embedder(gate.embedder), edits, prompts, metric=gate.metric)
        gate = replace(gate, references=references)
    return replace(trained, edits=edits, blocks=blocks, gate=gate)


def _add(
    path: Path, model: ScalpelModel, new: EditSet, pool: EditSet, *, refine: bool = True
) -> dict[str, Any]:
    started = time.perf_counter()
    model.add(new, pool=pool, refine=refine)
    append(path, new, model.blocks(new), model.references(new))
    seconds = time.perf_counter() - started
    scored = new[:100]
    scores = model.score([(edit.prompt, edit.target) for edit in scored])
    held_out = model.score([(text, edit.target) for edit in scored for text in edit.generality])
    return {
        "edits": len(new),
        "seconds": round(seconds, 2),
        "reliability": round(fmean(share(s.matches) for s in scores), 3),
        "generality": round(fmean(share(s.matches) for s in held_out), 3),
    }


if __name__ == "__main__":
    main()
