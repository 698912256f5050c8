"""Settings of the baselines, searched on the last rows of each file.

Of the hundred rows that a cell of the main table scores, three at most are among the last hundred.

    python experiments/baselines/search.py zsre.jsonl counterfact.jsonl --methods rome memit

Each trial is scored teacher-forced on the rows' own and held-out prompts, all edits in force (ROME:
one at a time, as in its paper), those on ended texts by what is written too. Writes search.json;
what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lks.editors.baselines.finetune import TuneSettings
from lks.editors.baselines.grace import GraceSettings
from lks.editors.baselines.memit import MemitModel
from lks.editors.baselines.values import ValueSettings
from lks.editors.registry import editor
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.evaluation.runner import Evaluation, evaluate
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads
from lks.training.prompts import with_lent_paraphrases

OUT = Path(__file__).parent / "search.json"
HELD_BACK, FEW = 100, 20
MORE = {"many": 1_000, "hundreds": 300}  # of a method for more edits, by the end of its name
SCORED = 200  # of the rows in force, at most
ENDED = "ended"  # the end of the name of trials on texts that end behind the target
TRAINED = ("rome", "memit", "alphaedit", "ft", "lora", "grace")  # seconds an edit: few will do
ONE_BY_ONE = ("rome",)

GRIDS: dict[str, dict[str, dict[str, Any]]] = {
    "rome": {f"layer {layer}": {"layer": layer} for layer in (5, 8, 12, 16)},
    "memit": {
        f"layers {first} to {last}, weight {weight}": {
            "layers": list(range(first, last + 1)), "weight": weight,
        }
        for first, last in ((3, 8), (6, 11), (10, 15))
        for weight in (10, 100, 1_000, 15_000)
    },
    "memit, a hundred": {
        f"weight {weight}": {"weight": weight} for weight in (1_000, 2_000, 4_000, 8_000, 15_000)
    },
    "memit, many": {
        f"weight {weight}": {"weight": weight} for weight in (1_000, 4_000, 15_000, 60_000)
    },
    "alphaedit, a hundred": {
        f"weight {weight}": {"weight": weight} for weight in (3, 10, 20, 30)
    },
    "alphaedit, hundreds": {
        f"weight {weight}": {"weight": weight} for weight in (10, 30, 100, 1_000)
    },
    "alphaedit, many": {f"weight {weight}": {"weight": weight} for weight in (100, 200)},
    "alphaedit": {
        f"layers {first} to {last}, share {share}": {
            "layers": list(range(first, last + 1)), "share": share,
        }
        for first, last in ((3, 8), (6, 11), (10, 15))
        for share in (0.03, 0.1, 0.3)
    },
    "ft": {
        f"layer {layer}, lr {lr}": {"layer": layer, "settings": TuneSettings(lr=lr)}
        for layer, lr in (
            (10, 5e-3), (18, 2e-3), (18, 5e-3), (24, 5e-3), (27, 5e-3), (27, 1e-2), (29, 5e-3),
        )
    },
    "lora": {f"lr {lr}": {"settings": TuneSettings(lr=lr)} for lr in (5e-4, 1e-3, 2e-3, 4e-3)},
    "lora, many": {
        f"batches of 128, lr {lr}": {"settings": TuneSettings(batch_size=128, lr=lr)}
        for lr in (1e-3, 2e-3, 4e-3)
    } | {"batches of 8, gradients cut": {"settings": TuneSettings(lr=1e-3, clip=1.0)}},
    "grace": {
        f"layer {layer}, radius {radius}": {
            "layer": layer, "settings": GraceSettings(radius=radius),
        }
        for layer, radius in (
            (10, 0.3), (18, 0.1), (18, 0.3), (18, 0.5),
            (24, 0.3), (24, 0.5), (24, 0.7), (24, 1.0), (27, 0.5),
        )
    },
    **{
        f"{method}, {ENDED}": {
            "as in its paper": {}, "targets end the text": {"values": ValueSettings(stop=True)},
        }
        for method in ("rome", "memit", "alphaedit")
    },
    "rag": {f"{by}, k {k}": {"by": by, "k": k} for by in ("dense", "bm25") for k in (1, 3)},
    "ike": {f"k {k}": {"k": k} for k in (4, 8)},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(GRIDS), choices=GRIDS)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    backbone = Backbone.load("smollm2-135m", device=options.device)
    found = json.loads(OUT.read_text()) if OUT.exists() else {}
    learnt: defaultdict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for method in options.methods:
        for data in options.data:
            edits = _held_back(data, method)
            for name, settings in GRIDS[method].items():
                key = f"{method} | {data.stem} | {name}"
                if key in found:
                    continue
                started = time.monotonic()
                known = learnt[
                    data.stem,
                    str((method.split(",")[0], settings.get("layers"), settings.get("values"))),
                ]
                scores = _scores(backbone, method, settings, edits, known)
                found[key] = {"n": len(edits), "scored": min(len(edits), SCORED), **scores}
                found[key]["seconds"] = round(time.monotonic() - started)
                OUT.write_text(json.dumps(found, indent=1) + "\n")
                print(key, found[key], flush=True)


def _held_back(data: Path, method: str) -> EditSet:
    """The last rows; of a method for more edits more, some of which others score."""
    rows = EditSet.load(data)
    held = rows[-MORE.get(method.rpartition(" ")[2], HELD_BACK) :]
    few = method.removesuffix(f", {ENDED}") in TRAINED
    return with_lent_paraphrases(held[: FEW if few else len(held)], rows)


def _scores(
    backbone: Backbone,
    method: str,
    settings: dict[str, Any],
    edits: EditSet,
    known: dict[str, Any],
) -> dict[str, Any]:
    """`known` are values learnt before for the same layers; new ones come to them."""
    whole, base = Evaluation(False, 0, []), UneditedModel(backbone)
    writes = method.endswith(ENDED)
    for group in _groups(method, edits):
        with editor(method.split(",")[0], **settings).apply(backbone, []) as model:
            if isinstance(model, MemitModel):
                model.known = known
            model.add(group)
            own = evaluate(base, model, group[:SCORED], free_running=writes, max_new_tokens=16)
            whole.probes += own.probes
    found = whole.summary()
    told = found.to_json()
    scores = {k: round(v, 3) for k, v in told["teacher_forced"].items()}
    if writes:
        for name in ("free_running", "contained", "clean_stops"):
            scores[name] = {k: round(v, 3) for k, v in told[name].items() if v is not None}
    return scores


def _groups(method: str, edits: EditSet) -> Iterator[list[Edit]]:
    if method.split(",")[0] in ONE_BY_ONE:
        yield from ([edit] for edit in edits)
    else:
        yield list(edits)


if __name__ == "__main__":
    main()
