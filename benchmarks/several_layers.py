"""Blocks at one layer, or at two or three that are adjacent or spread, at equal training time.

    python benchmarks/several_layers.py FOLDER counterfact.jsonl --seconds 600

FOLDER holds facts.jsonl and asks.jsonl, see `life.py`. The facts with the longest values and the
first rows of the data set are one pack. Each choice of layers is trained by as many epochs as fit
into the same CPU seconds: an epoch is timed first, then a training of its own begins. There is no
early stop, no self-test, and no further epochs for what is not learnt. All edits are in force, and
every answer is written freely. Counted for facts and rows apart:
- own: the answer to the edit's own prompt holds the whole target;
- held_out: so does the answer in other wordings, none of which training saw;
- unguarded: so does the answer to the own prompt where a target that was begun need not be said to
  its end;
- unchanged: the answer about a neighbour is the unedited model's to the letter.

Writes benchmarks/results/several_layers-MODEL.json after each choice; one that is there stays.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _record import RESULTS, called, given, kept, program
from life import Ask, answers, read_asks

from lks.editors.lks.model import ScalpelModel
from lks.editors.protocol import EditedModel
from lks.editors.registry import editor
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.evaluation.metrics import stands_in
from lks.evaluation.provenance import provenance
from lks.evaluation.runner import answer_room
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads
from lks.packs.pack import Pack
from lks.training.config import TrainingConfig
from lks.training.progress import Epoch
from lks.training.train_pack import train_pack

TIMED = 3  # epochs, the first of which is not counted
POOL = 1000  # rows that may lend templates
SPREAD = 0.2  # of the depth, between two layers
FORMS = ("own", "held_out", "unchanged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=given)
    parser.add_argument("data", type=given)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--facts", type=int, default=40, help="those with the longest values")
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=600.0, help="of CPU, for each training")
    parser.add_argument("--choices", nargs="+", help="some of the choices")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    out = options.out or RESULTS / f"several_layers-{called(options.model)}.json"
    asked = ("model", "dtype", "facts", "rows", "seconds", "seed")
    same = {name: getattr(options, name) for name in asked}
    result = kept(out, same) or {**same, "choices": {}}
    task = _task(options)
    backbone = Backbone.load(options.model, dtype=options.dtype)
    with editor("unedited").apply(backbone, []) as model:
        before = _answers(backbone, model, task)
    for name, layers in choices(backbone.n_layers).items():
        if name in result["choices"] or (options.choices and name not in options.choices):
            continue
        config = replace(
            TrainingConfig(), layer=layers, seed=options.seed, patience=0, verdicts=False
        )
        pack, cost = _trained(backbone, task, replace(config, tail_epochs=0), options.seconds)
        scores = _scores(backbone, pack, task, before)
        result["choices"][name] = {"layers": list(layers), **cost, **scores, **provenance()}
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(scores), flush=True)


def choices(n_layers: int) -> dict[str, tuple[int, ...]]:
    """By name; today's layer is in each."""
    (own,) = TrainingConfig().resolve_layers(n_layers)
    step = round(SPREAD * n_layers)
    return {
        "one": (own,),
        "two adjacent": (own, own + 1),
        "three adjacent": (own - 1, own, own + 1),
        "two spread": (own - step, own),
        "three spread": (own - step, own, own + step),
    }


@dataclass(frozen=True)
class Task:
    """What is edited and what is asked of it; the asks by kind of edit, and by their form."""

    edits: EditSet
    pool: EditSet
    asks: Mapping[str, list[Ask]] = field(default_factory=dict)


def _task(options: argparse.Namespace) -> Task:
    every, rows = EditSet.load(options.cases / "facts.jsonl"), EditSet.load(options.data)
    facts = sorted(every, key=lambda edit: -len(edit.target))[: options.facts]
    chosen = list(rows[: options.rows])
    known = {edit.id for edit in facts}
    asks = {"facts": [_own(edit) for edit in facts], "rows": [_own(edit) for edit in chosen]}
    forms = {"target": "held_out", "unchanged": "unchanged"}
    for ask in read_asks(options.cases / "asks.jsonl", every):
        if ask.fact.id in known and ask.want in forms:
            asks["facts"].append(ask)
    for edit in chosen:
        held = [("target", text) for text in edit.generality]
        held += [("unchanged", probe.prompt) for probe in edit.heldout_locality]
        asks["rows"] += [
            Ask(f"{edit.id} {i}", edit, text, want, "completion")
            for i, (want, text) in enumerate(held)
        ]
    return Task(EditSet([*facts, *chosen]), rows[:POOL], asks)


def _own(edit: Edit) -> Ask:
    return Ask(f"{edit.id} own", edit, edit.prompt, "target", "completion")


def _form(ask: Ask) -> str:
    if ask.want == "unchanged":
        return "unchanged"
    return "own" if ask.prompt == ask.fact.prompt and ask.form == "completion" else "held_out"


def _answers(
    backbone: Backbone, model: EditedModel, task: Task, form: str | None = None
) -> dict[str, str]:
    """The answer to each ask, or to those of one form."""
    asks = [ask for own in task.asks.values() for ask in own if form in (None, _form(ask))]
    limits = {edit.id: answer_room(backbone, edit.target) for edit in task.edits}
    found = answers(model, asks, limits)
    return {ask.id: own.text for ask, own in zip(asks, found, strict=True)}


def _trained(
    backbone: Backbone, task: Task, config: TrainingConfig, seconds: float
) -> tuple[Pack, dict[str, Any]]:
    """A pack whose epochs took so many CPU seconds, and what it cost."""
    _, timed = _run(backbone, task, replace(config, epochs=TIMED))
    each = min(end - start for start, end in pairwise(timed))
    epochs = max(2, round(seconds / each))
    pack, times = _run(backbone, task, replace(config, epochs=epochs))
    took = (times[-1] - times[0]) * epochs / (epochs - 1)
    return pack, {"epochs": epochs, "cpu_seconds": round(took, 1), "losses": pack.training.losses}


def _run(backbone: Backbone, task: Task, config: TrainingConfig) -> tuple[Pack, list[float]]:
    """A pack, and the process's CPU seconds at the end of each epoch."""
    ends: list[float] = []

    def note(epoch: Epoch) -> None:
        ends.append(time.process_time())

    return train_pack(backbone, task.edits, config, pool=task.pool, on_epoch=note), ends


def _scores(
    backbone: Backbone, pack: Pack, task: Task, before: Mapping[str, str]
) -> dict[str, Any]:
    after = _answers(backbone, ScalpelModel(backbone, pack), task)
    settings = {**pack.training.config, "exact": False}
    free = replace(pack, training=replace(pack.training, config=settings))
    unguarded = _answers(backbone, ScalpelModel(backbone, free), task, "own")
    return {
        kind: {
            **{form: _share(asks, form, after, before) for form in FORMS},
            "unguarded": _share(asks, "own", unguarded, before),
        }
        for kind, asks in task.asks.items()
    }


def _share(
    asks: Sequence[Ask], form: str, after: Mapping[str, str], before: Mapping[str, str]
) -> float:
    """Of the asks of a form, those whose answer is right."""
    right = [
        after[ask.id] == before[ask.id]
        if form == "unchanged"
        else stands_in(after[ask.id], ask.fact.target)
        for ask in asks
        if _form(ask) == form
    ]
    return round(fmean(right), 4)


if __name__ == "__main__":
    program(main)
