"""Times adding to and removing from a large pack.

    python benchmarks/changes.py zsre.jsonl --edits 9900

The pack holds the first rows of the file with blocks of zeros: how long a change takes does not
depend on their values. Later rows are added, with refinement, and scored.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, environment

from lks import versions
from lks.backbone import Backbone, default_threads
from lks.edits import EditSet
from lks.hypernetwork import HyperNetwork
from lks.pack import Pack, append
from lks.scalpel import ScalpelModel
from lks.training.config import TrainingConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--edits", type=int, default=9900)
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    backbone = Backbone.load(options.model)
    rows = EditSet.load(options.data)
    result: dict[str, Any] = {"data": options.data.name, "edits": options.edits, **environment()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.pack"
        _empty_pack(backbone, rows[: options.edits]).save(path)
        started = time.perf_counter()
        model = ScalpelModel(backbone, Pack.load(path))
        result["load_seconds"] = round(time.perf_counter() - started, 3)
        new = rows[options.edits :]
        result["add"] = [_add(path, model, new[:1], rows), _add(path, model, new[1:101], rows)]
        started = time.perf_counter()
        versions.remove(path, [rows[0].id])
        result["remove_one_seconds"] = round(time.perf_counter() - started, 4)
    out = RESULTS / f"changes-{options.data.stem}-{options.edits}.json"
    RESULTS.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _empty_pack(backbone: Backbone, edits: EditSet) -> Pack:
    config = TrainingConfig()
    width = backbone.width
    return Pack(
        edits=edits, blocks=torch.zeros(len(edits), width),
        hypernetwork=dict(HyperNetwork(width, zero_init=True).state_dict()),
        base_model=backbone.fingerprint, layer=config.resolve_layer(backbone.n_layers),
        form="residual", kind="linear", scale=9.0, training={"config": config.to_json()},
    )  # fmt: skip


def _add(path: Path, model: ScalpelModel, new: EditSet, pool: EditSet) -> dict[str, Any]:
    started = time.perf_counter()
    model.add(new, pool=pool)
    append(path, new, model.blocks(new))
    seconds = time.perf_counter() - started
    scores = model.score([(edit.prompt, edit.target) for edit in new])
    held_out = model.score([(text, edit.target) for edit in new for text in edit.generality])
    right = [sum(s.matches) / len(s.matches) for s in scores]
    general = [sum(s.matches) / len(s.matches) for s in held_out]
    return {
        "edits": len(new),
        "seconds": round(seconds, 2),
        "reliability": round(sum(right) / len(right), 3),
        "generality": round(sum(general) / len(general), 3),
    }


if __name__ == "__main__":
    main()
