"""Blocks for yes and for no: two for a whole pack, which all its edits share.

The scope finds that a text asks for yes or no, and which is right (`lks.scope.gate.verdicts`). In
place of the fact's own block stands then one that makes the model say so. What it does has nothing
to do with the fact: these blocks are learnt once for a model and its edited layers, from questions
about made-up names, and hold for entities that they never saw.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from lks.blocks.trainable import RefinedBlocks
from lks.edits.edit import SLOT, Edit
from lks.model import kept
from lks.model.backbone import Backbone
from lks.model.engine import probes
from lks.scope.bank.relations import Relation, bank
from lks.scope.scope import Scope
from lks.scope.types import Verdict
from lks.training.config import TrainingConfig
from lks.training.distributed import ProcessGroup
from lks.training.examples import EditExamples, Example, build_examples
from lks.training.progress import Epoch, OnProgress
from lks.training.prompts import TrainingPrompts
from lks.training.trainer import refine, training_engine, usual_size

ANSWERS = {Verdict.YES: "Yes.", Verdict.NO: "No."}  # nothing more, which might be the old fact
QUESTIONS = 128  # each is answered with yes and with no
STEPS, BATCH, RATE = 48, 16, 0.2
LEARNT = 0.3  # nats a token; else the model cannot say it, and there are none
_COPULA = re.compile(r" (is|was|are|were)$")


def verdict_blocks(
    backbone: Backbone,
    layers: tuple[int, ...],
    config: TrainingConfig,
    on_progress: OnProgress = lambda stage, done, of: None,
) -> Tensor | None:
    """Blocks of each `Verdict` in order, [2, k, d], on the CPU.

    Those of some models come with this package, at the layers of the default preset; others are
    kept in the cache folder. None where they were not learnt: of such a model no question for yes
    or no is answered so.

    Args:
        config: form and precision count, and whether chats are taught.
    """
    if (own := _shipped().get(shipped_name(backbone, layers))) is not None:
        return own.float()
    told = (layers, config.form, config.chat, _made_from(), QUESTIONS, STEPS, BATCH, RATE)
    name = f"verdicts-{probes.told_by(backbone, repr(told))}"
    found = kept.load(name)
    if found is None:
        made = learnt(backbone, layers, config, on_progress)
        found = torch.empty(0).numpy() if made is None else made.numpy()
        kept.save(name, found)
    return torch.from_numpy(found.copy()) if found.size else None


def shipped_name(backbone: Backbone, layers: tuple[int, ...]) -> str:
    """Under which blocks for a model and its layers come with this package."""
    return f"{backbone.fingerprint.weights[:16]} {','.join(map(str, layers))}"


@cache
def _shipped() -> Mapping[str, Tensor]:
    stored = (files(__package__) / "verdicts.safetensors").read_bytes()
    found: dict[str, Tensor] = load(stored)
    return found


def learnt(
    backbone: Backbone,
    layers: tuple[int, ...],
    config: TrainingConfig,
    on_progress: OnProgress = lambda stage, done, of: None,
) -> Tensor | None:
    """Train the blocks, whatever is kept; as of `verdict_blocks`."""
    config = replace(
        config, epochs=1, least_steps=STEPS, batch_size=BATCH, refine_lr=RATE, tail_epochs=0,
        patience=0,
    )  # fmt: skip
    engine = training_engine(backbone, layers, config)
    edits = list(_edits(random.Random(0)))
    made, _ = build_examples(
        engine,
        edits,
        [TrainingPrompts()] * len(edits),
        Scope(edits),
        chat=config.chat,
        kl_tokens=0,
        alone=True,
        on_progress=lambda stage, done, of: on_progress("learning yes and no", done, of),
    )
    own = [_as_one(made[number :: len(ANSWERS)], number) for number in range(len(ANSWERS))]
    width = own[0].reliability[0].text.states.shape[-1]
    scale = usual_size(engine, own, ProcessGroup())
    nothing = torch.zeros(len(own), len(layers), width, device=backbone.device)
    blocks = RefinedBlocks(nothing, 0, form=config.form, scale=scale).to(backbone.device)
    epochs: list[Epoch] = []
    refine(engine, blocks, own, config, on_epoch=epochs.append)
    if epochs[-1].reliability > LEARNT:
        return None
    with torch.no_grad():
        return blocks.blocks(torch.arange(len(own), device=backbone.device)).float().cpu()


def _as_one(examples: list[EditExamples], number: int) -> EditExamples:
    """The texts of many questions as those of one block."""
    texts = [example for one in examples for example in one.reliability]
    return EditExamples([_of(text, number) for text in texts], [], [])


def _of(example: Example, number: int) -> Example:
    return replace(example, edit=number, members=torch.full_like(example.members, number))


def _edits(rng: random.Random) -> Iterator[Edit]:
    """Questions with their answers as edits; each question with yes, then with no."""
    relations = [relation for relation in bank() if relation.value in _data()["values"]]
    found = 0
    while found < QUESTIONS:
        name, relation = rng.choice(_data()["names"]), rng.choice(relations)
        asked = _asked(relation, name, rng.choice(_data()["values"][relation.value]), rng)
        if name not in asked:
            continue
        for verdict, answer in ANSWERS.items():
            yield Edit(f"{verdict.value} {found}", name, asked, answer)
        found += 1


def _asked(relation: Relation, name: str, value: str, rng: random.Random) -> str:
    """A question about a value: half of them plain ones, "Is the price of it 3 euros?"."""
    form = rng.choice(relation.asked["completion"])
    if form[1:2].islower():
        form = form[:1].lower() + form[1:]
    stated = form.replace(SLOT, name)
    copula = _COPULA.search(stated)
    if copula and rng.random() < 0.6:
        return f"{copula[1].capitalize()} {stated[: copula.start()]} {value}?"
    if rng.random() < 0.5:
        question = rng.choice(relation.asked["question"]).replace(SLOT, name)
        form = rng.choice(_data()["asked"])
        text: str = form.format(question=question, value=value)
    else:
        text = rng.choice(_data()["frames"]).replace(SLOT, f"{stated} {value}")
    return text[:1].upper() + text[1:]


@cache
def _data() -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(_text())
    return found


def _text() -> str:
    return (files(__package__) / "verdicts.json").read_text(encoding="utf-8")


def _made_from() -> str:
    """A hash of what the questions are made from."""
    return hashlib.sha256(repr((_text(), bank())).encode()).hexdigest()
