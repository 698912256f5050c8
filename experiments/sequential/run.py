"""Sequential editing: cycles of adding ten edits, and what becomes of the earlier ones.

    python experiments/sequential/run.py zsre.jsonl --trained PACK --start 1000 --cycles 100

Starts from a trained pack (its hypernetwork makes the new blocks; its own edits are taken out) and
adds rows `start` and following. After each cycle all edits so far are scored on their own prompts,
teacher-forced, and prompts that name no edited entity are compared with the unedited model. One
line a cycle goes to results.jsonl; run again, it goes on. The last line of output is the plot. All
of it in bfloat16: fifty thousand prompts are scored.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.evaluation.metrics import share
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads
from lks.packs import manifest
from lks.packs.pack import Pack, append

HERE = Path(__file__).parent
UNTOUCHED = 50  # prompts of other edits' held-out rows, from the end of the file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--start", type=int, default=1000)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    rows = EditSet.load(options.data)
    new = rows[options.start : options.start + options.cycles * options.each]
    path, results = options.out / "sequential.pack", options.out / "results.jsonl"
    if not path.exists():
        shutil.copytree(options.trained, path)
        manifest.remove(path, [edit.id for edit in Pack.load(path).edits])
    pack = Pack.load(path)
    backbone = Backbone.load(pack.base_model["name"], dtype="bfloat16")
    model, base = ScalpelModel(backbone, pack), UneditedModel(backbone)
    far = [(edit.prompt, edit.target) for edit in rows[len(rows) - UNTOUCHED :]]
    for cycle in range(len(pack.edits) // options.each, options.cycles):
        chosen = new[cycle * options.each : (cycle + 1) * options.each]
        started = time.perf_counter()
        model.add(chosen, pool=rows)
        append(path, chosen, model.blocks(chosen), model.exemplars(chosen))
        row = {"cycle": cycle + 1, "seconds": round(time.perf_counter() - started, 1)}
        row |= _scores(model, base, new[: (cycle + 1) * options.each], options.each, far)
        with results.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        print(row, flush=True)
    _draw(results, options.out / "retention.png")


def _scores(
    model: ScalpelModel,
    base: UneditedModel,
    so_far: EditSet,
    each: int,
    far: list[tuple[str, str]],
) -> dict[str, Any]:
    """Accuracy on all edits so far, on the last ones, and the change of untriggered prompts."""
    right = [share(score.matches) for score in model.score([(e.prompt, e.target) for e in so_far])]
    quiet = [pair for pair in far if not model.triggered([pair[0]])[0]]
    both = zip(base.score(quiet, full=True), model.score(quiet, full=True), strict=True)
    kl = [(x.full.exp() * (x.full - y.full)).sum(-1).max().item() for x, y in both]
    return {
        "edits": len(so_far),
        "all": round(sum(right) / len(right), 4),
        "new": round(sum(right[-each:]) / each, 4),
        "untriggered": len(quiet),
        "largest_kl": max(kl, default=0.0),
    }


def _draw(results: Path, file: Path) -> None:
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    axes = (figure := Figure(figsize=(7, 4), layout="constrained")).subplots()
    for key, label in (("all", "all edits so far"), ("new", "the last ones added")):
        axes.plot([row["edits"] for row in rows], [row[key] for row in rows], label=label)
    axes.set(xlabel="edits", ylabel="reliability, teacher-forced", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)
    print(file)


if __name__ == "__main__":
    main()
