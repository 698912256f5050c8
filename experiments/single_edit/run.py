"""One edit in force at a time: does it hold, and what else about its entity changes?

    python experiments/single_edit/run.py zsre.jsonl counterfact.jsonl

The paper's question about precision, for its own settings and for the two scopes. Each of the first
rows is trained and scored alone: its own and its held-out prompts, its held-out question about the
same subject, and five beginnings of sentences about the subject: along the eight tokens that the
unedited model goes on with, the share that stay, and how far the distribution moves (KL, nats a
token). Writes result.json; what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Probe
from lks.edits.edit_set import EditSet
from lks.evaluation.runner import Evaluation, evaluate
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

HERE = Path(__file__).parent
WAYS = {
    "paper": TrainingConfig.from_json({}, preset="paper"),
    "every mention": TrainingConfig(scope="entity"),
    "relation gate": TrainingConfig(),
}
BEGINNINGS = ("{} is", "{} was", "{} and", "The story of {} is", "In the world of {},")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--rows", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    backbone, file = Backbone.load("smollm2-135m", device="cpu"), HERE / "result.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    for data in options.data:
        rows = EditSet.load(data)
        for name, config in WAYS.items():
            key = f"{data.stem}, {name}"
            if key not in result:
                result[key] = _alone(backbone, rows, options.rows, config)
                file.write_text(json.dumps(result, indent=2) + "\n")
                print(key, result[key], flush=True)


def _alone(backbone: Backbone, rows: EditSet, count: int, config: TrainingConfig) -> dict[str, Any]:
    base, asked, near = UneditedModel(backbone), Evaluation(False, 0, []), Evaluation(False, 0, [])
    for edit in rows[:count]:
        own = EditSet([edit])
        model = ScalpelModel(backbone, train_pack(backbone, own, config, pool=rows))
        probes = tuple(Probe(text.format(edit.subject), held_out=True) for text in BEGINNINGS)
        about = [replace(edit, generality=(), locality=probes, portability=())]
        for into, edits in ((asked, own), (near, about)):
            into.probes += evaluate(base, model, edits, free_running=False).probes
    summary, around = asked.summary(), near.summary()
    return {
        **summary.teacher_forced.to_json(),
        "locality_kl": summary.locality_kl,
        "beginnings": around.teacher_forced.locality,
        "beginnings_kl": around.locality_kl,
        "beginnings_fired": around.triggered.locality,
    }


if __name__ == "__main__":
    main()
