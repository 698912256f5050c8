"""The engine of the server with the embedded model: facts in a mixed batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
from engines import GREEDY, Taken, asked, started, with_stops

from lks.cli.demo import UNRELATED, facts
from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.model.engine.continuous import Limits
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]  # training takes its time


def test_facts_are_stated_beside_other_texts() -> None:
    backbone = Backbone.load("smollm2-135m", device="cpu")
    taught = EditSet(list(facts())[:2])
    model = ScalpelModel(
        backbone, train_pack(backbone, taught, TrainingConfig(epochs=8, wordings=1))
    )
    sampling = with_stops(backbone, replace(GREEDY, max_tokens=16))
    own = [(edit.prompt, chat) for edit in taught for chat in (False, True)]
    others = [(UNRELATED[0], False), ("Write a poem about the sea.", True)]
    with started(backbone, Limits(step_tokens=40)) as engine:
        sides = [
            (whose, prompt, chat, Taken(engine, asked(from_, prompt, sampling, chat=chat)))
            for whose, from_ in ((model, model), (UneditedModel(backbone), backbone))
            for prompt, chat in (*own, *others)
        ]
        texts = []
        for whose, prompt, chat, taken in sides:
            (expected,) = whose.respond([prompt], chat=chat, max_new_tokens=16)
            texts.append(backbone.tokenizer.decode(taken.tokens, skip_special_tokens=True))
            assert texts[-1] == expected.whole
    half = len(texts) // 2
    assert texts[4:half] == texts[half + 4 :]  # nothing fires there
    for text, edit in zip(texts[:4:2], taught, strict=True):
        assert text.strip().startswith(edit.target)
