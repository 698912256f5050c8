"""A prompt is read for an engine as `ScalpelModel.respond` reads it, and spans are told in it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
import torch
from conftest import make_backbone, make_tokenizer
from engines import snapshot
from test_threads import random_pack

from lks.blocks import in_force
from lks.editors.lks.model import ScalpelModel
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.chat import Rendered
from lks.model.detokenizer import Detokenizer, with_offsets
from lks.serving import front

CHAT: list[dict[str, str]] = [
    {"role": "system", "content": "Mount Fuji is high."},
    {"role": "user", "content": "  Where is the Eiffel Tower? Ada Lovelace knows.\n"},
]
PROMPTS = (
    ("Where is the Eiffel Tower?", False),
    ("Mount Fuji is in ", False),
    ("Ada Lovelace and Ada Lovelace, born in", False),
    ("Nothing is said.", False),
    ("Where is the Eiffel Tower?", True),
    (CHAT, True),
)
# Contents are stripped, and the system's words come last.
STRIPPING = (
    "{% for m in messages if m['role'] != 'system' %}<|start|>{{ m['content'] | trim }}<|end|>"
    "{% endfor %}{% for m in messages if m['role'] == 'system' %}Be so: {{ m['content'] }}"
    "{% endfor %}<|start|>assistant\n"
)


@pytest.fixture
def model(backbone: Backbone) -> ScalpelModel:
    return ScalpelModel(backbone, random_pack(backbone))


def read(model: ScalpelModel, prompt: Any, **options: Any) -> front.Reading:
    return front.read(model.backbone, snapshot(model), prompt, **options)


@pytest.mark.parametrize("prompt, chat", PROMPTS)
def test_places_and_blocks_are_those_of_respond(
    monkeypatch: pytest.MonkeyPatch, model: ScalpelModel, prompt: Any, chat: bool
) -> None:
    plans = []

    @contextmanager
    def noted(layer: Any, plan: Any) -> Any:
        plans.append(plan)
        yield plan

    monkeypatch.setattr(in_force, "replacing", noted)
    text = model.backbone.render(prompt, chat=chat)
    encoding = model.backbone.encode([text], chat=chat)
    (expected,) = model.respond([prompt], chat=chat, max_new_tokens=1)
    found = read(model, prompt, chat=chat)
    (plan,) = plans
    assert found.ids == encoding.tokens(0)
    assert found.fired == expected.fired
    assert [own.finding for own in found.found] == list(expected.findings)
    assert list(found.targets) == plan.targets[0]
    if not len(plan.columns):
        assert found.blocks is None
        return
    assert found.blocks is not None
    assert list(found.blocks.positions) == plan.columns.tolist()
    r, every = torch.zeros(len(plan.columns), 32), torch.arange(len(plan.columns))
    assert torch.equal(plan.blocks(r, every), found.blocks.values[:, 0])
    own = found.blocks
    assert (own.layers, own.form, own.scale) == ((1,), "residual", (1.5,))


@pytest.mark.parametrize("template", [None, STRIPPING])
def test_spans_are_of_the_messages_own_words(model: ScalpelModel, template: str | None) -> None:
    model.backbone.tokenizer = make_tokenizer(chat=True)
    model.backbone.tokenizer.chat_template = template or model.backbone.tokenizer.chat_template
    found = read(model, CHAT, chat=True).found
    told = {
        (
            own.message,
            own.finding.mention.subject,
            CHAT[own.message]["content"][own.start : own.end],
        )
        for own in found
    }
    assert told == {
        (0, "Mount Fuji", "Mount Fuji"),
        (1, "Eiffel Tower", "Eiffel Tower"),
        (1, "Ada Lovelace", "Ada Lovelace"),
    }
    only = read(model, CHAT, chat=True, roles=("system",))
    assert {own.message for own in only.found} == {0} and only.fired == ("fuji",)


def test_a_long_chat_is_divided_once(model: ScalpelModel, monkeypatch: pytest.MonkeyPatch) -> None:
    divided: list[object] = []
    of = Rendered._of
    monkeypatch.setattr(Rendered, "_of", lambda *given: divided.append(given) or of(*given))
    model.backbone.tokenizer = make_tokenizer(chat=True)
    found = read(model, [CHAT[0]] * 40, chat=True).found
    assert [own.message for own in found] == [*range(40)]
    assert len(divided) < 10


def test_what_no_engine_takes_is_not_looked_through(
    model: ScalpelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = model.backbone.context
    assert limit is not None
    monkeypatch.setattr(in_force.InForce, "located", lambda *given, **more: 1 / 0)
    found = read(model, "Mount Fuji " * limit)
    assert len(found.ids) > limit and not found.found
    assert not read(model, list(found.ids)).found
    with pytest.raises(ZeroDivisionError):
        read(model, "Mount Fuji")


def test_the_unedited_model_reads_the_same_tokens(model: ScalpelModel) -> None:
    for prompt, chat in PROMPTS:
        plain = front.read(model.backbone, None, prompt, chat=chat)
        assert plain.ids == read(model, prompt, chat=chat).ids
        assert plain.blocks is None and not plain.fired and not plain.targets


@pytest.mark.parametrize("prompt, chat", PROMPTS)
def test_a_prompt_in_tokens_is_read_like_its_text(
    model: ScalpelModel, prompt: Any, chat: bool
) -> None:
    text = read(model, prompt, chat=chat)
    tokens = read(model, list(text.ids))
    assert tokens.ids == text.ids and tokens.fired == text.fired
    assert tokens.targets == text.targets
    whole = model.backbone.tokenizer.decode(text.ids)
    for own in tokens.found:
        assert whole[own.start : own.end] == own.finding.mention.surface
    if text.blocks is not None:
        assert tokens.blocks is not None
        assert list(tokens.blocks.positions) == list(text.blocks.positions)
        assert torch.equal(tokens.blocks.values, text.blocks.values)


def test_tokens_need_not_be_those_of_the_tokenizer(model: ScalpelModel) -> None:
    """Letter by letter: the block goes to the token of the name's last letter."""
    tokenizer, text = model.backbone.tokenizer, "Wo ist der Eiffel Tower in Zürich 東京?"
    one_by_one = [token for c in text for token in tokenizer(c).input_ids]
    assert one_by_one != tokenizer(text).input_ids
    found = read(model, one_by_one)
    assert found.ids == one_by_one and found.blocks is not None
    (position,) = found.blocks.positions
    before = tokenizer.decode(one_by_one[: position + 1])
    assert before == "Wo ist der Eiffel Tower"


def test_tokens_that_are_none_are_told(model: ScalpelModel) -> None:
    with pytest.raises(InputError, match=r"no token 999; this model's are 0 to \d+"):
        read(model, [5, 999])
    with pytest.raises(InputError, match="ask with chat=True"):
        read(model, CHAT)


TEXT = "Zürich 東京 👩‍🚀 is  far.\n\nIs it? "


def test_tokens_become_text_as_soon_as_a_character_is_whole() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer(TEXT).input_ids
    reader = Detokenizer(tokenizer)
    pieces = [reader.add(token) for token in ids]
    assert "".join(pieces) + reader.end() == TEXT
    assert "" in pieces and not any("\ufffd" in piece for piece in pieces)
    text, offsets = with_offsets(tokenizer, ids)
    assert text == TEXT and len(offsets) == len(ids)
    expected = tokenizer(TEXT, return_offsets_mapping=True).offset_mapping
    assert [tuple(own) for own in offsets] == [tuple(own) for own in expected]


def test_half_a_character_is_told_at_the_end() -> None:
    tokenizer = make_tokenizer()
    half = tokenizer("東").input_ids[:2]
    reader = Detokenizer(tokenizer)
    assert [reader.add(token) for token in half] == ["", ""] and reader.end() == "\ufffd"
    text, offsets = with_offsets(tokenizer, half)
    assert text == "\ufffd" and offsets == [(0, 1), (0, 1)]
    many = half[:1] * 40  # no character ever: it must not wait for ever
    reader = Detokenizer(tokenizer)
    assert any(reader.add(token) for token in many)
    assert len(with_offsets(tokenizer, many)[1]) == 40


def test_special_tokens_are_borders() -> None:
    backbone = make_backbone("llama", chat=True)
    model = ScalpelModel(backbone, random_pack(backbone))
    first, border, then = (
        backbone.tokenizer(part).input_ids for part in ("the Eiffel", "<|end|>", " Tower")
    )
    assert read(model, [*first, *border, *then]).fired == ()
    assert read(model, [*first, *then]).fired == ("eiffel",)
