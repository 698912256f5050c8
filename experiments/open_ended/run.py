"""How several blocks of one entity combine best, on facts of this folder.

    python experiments/open_ended/run.py

Trains the facts twice: one by one (as with a relation gate), and together, where all facts of an
entity are in force in each training text (as with the entity scope). Then asks for texts about each
entity, with all its facts in force, and counts the new facts that the texts state. Ways to combine
k blocks: their sum, sum / sqrt(k), their mean. And profiles, one joint block an entity, in a pack
where everything is in force and the gate decides; with further requests too. Writes result.json;
what is there is not made again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads
from lks.packs.pack import Pack
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

HERE = Path(__file__).parent
REQUESTS = (
    "Tell me about {}.",
    "What do you know about {}?",
    "Write a short text about {}.",
    "Describe {} in a few sentences.",
)
FURTHER_REQUESTS = (
    "Tell me something about {}.",
    "Can you summarise {} for me?",
    "Write a paragraph introducing {}.",
    "What should everybody know about {}?",
)
WAYS = {"sum": 0.0, "sum / sqrt(k)": 0.5, "mean": 1.0}


def main() -> None:
    torch.set_num_threads(default_threads())
    backbone = Backbone.load("smollm2-135m", device="cpu")
    edits, file = EditSet.load(HERE / "facts.jsonl"), HERE / "result.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    if "unedited" not in result:
        result["unedited"] = stated(UneditedModel(backbone), edits)
    for scope, trained in (("relation", "one by one"), ("entity", "together")):
        if f"{trained}, mean" in result:
            continue
        pack = train_pack(backbone, edits, TrainingConfig(scope=scope, w_loc=0.0))
        for way, power in WAYS.items():
            model = ScalpelModel(backbone, _scaled(pack, power))
            result[f"{trained}, {way}"] = stated(model, edits)
            print(trained, way, result[f"{trained}, {way}"]["stated"], flush=True)
        file.write_text(json.dumps(result, indent=2) + "\n")
    if "profiles" in result:
        return
    model = ScalpelModel(backbone, train_pack(backbone, edits, TrainingConfig()))
    model.add_profiles()
    result["profiles"] = stated(model, edits)
    result["profiles, further requests"] = stated(model, edits, FURTHER_REQUESTS)
    for name in ("profiles", "profiles, further requests"):
        print(name, result[name]["stated"])
    file.write_text(json.dumps(result, indent=2) + "\n")


def _scaled(pack: Pack, power: float) -> Pack:
    """The pack with blocks divided by a power of how many facts their entity has."""
    names = [edit.subject for edit in pack.edits]
    counts = torch.tensor([float(names.count(name)) for name in names])
    return Pack(**{**vars(pack), "blocks": pack.blocks / counts[:, None] ** power, "gate": None})


def stated(model: Any, edits: EditSet, requests: tuple[str, ...] = REQUESTS) -> dict[str, Any]:
    """Share of an entity's new facts that a text about it states, and the texts."""
    subjects = dict.fromkeys(edit.subject for edit in edits)
    texts, hits, of = {}, 0, 0
    for subject in subjects:
        prompts = [request.format(subject) for request in requests]
        written = model.generate(prompts, chat=True, max_new_tokens=80)
        texts |= dict(zip(prompts, written, strict=True))
        targets = [edit.target.casefold() for edit in edits if edit.subject == subject]
        hits += sum(target in text.casefold() for text in written for target in targets)
        of += len(written) * len(targets)
    return {"stated": round(hits / of, 3), "of": of, "texts": texts}


if __name__ == "__main__":
    main()
