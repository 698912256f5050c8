"""A text in pieces, while it is written."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from conftest import make_backbone
from test_threads import random_pack

from lks.editors.lks.model import ScalpelModel
from lks.editors.lks.stream import Stream
from lks.errors import InputError
from lks.model.backbone import Backbone

ASKED = "Where is the Eiffel Tower?"


@pytest.fixture
def model(backbone: Backbone) -> ScalpelModel:
    return ScalpelModel(backbone, random_pack(backbone))


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("prompt", [ASKED, "One, two", "Mount Fuji is in "])
def test_the_pieces_are_the_text(model: ScalpelModel, prompt: str, chat: bool) -> None:
    (expected,) = model.respond([prompt], chat=chat, max_new_tokens=20)
    stream = model.stream(prompt, chat=chat, max_new_tokens=20)
    assert stream.fired == expected.fired and list(stream.findings) == list(expected.findings)
    assert stream.finish_reason is None
    pieces = list(stream)
    assert "".join(pieces) == expected.whole and len(pieces) > 1
    assert stream.finish_reason == expected.finish_reason
    assert list(stream) == []


def test_settings_count(model: ScalpelModel) -> None:
    stop = model.generate([ASKED], max_new_tokens=8)[0][-1]
    for settings in ({"stop_strings": [stop]}, {"eos_token_id": [300, 328]}, {"max_new_tokens": 0}):
        own = {"max_new_tokens": 12, **settings}
        (expected,) = model.respond([ASKED], **own)
        stream = model.stream(ASKED, **own)
        assert "".join(stream) == expected.whole
        assert stream.finish_reason == expected.finish_reason


def test_pieces_come_before_the_end(model: ScalpelModel) -> None:
    with model.stream(ASKED, max_new_tokens=200) as stream:
        next(stream)
        assert threading.active_count() > 1  # it is still written


def _threads() -> int:
    return sum(thread.name == "lks-stream" for thread in threading.enumerate())


def test_closing_ends_the_writing(model: ScalpelModel) -> None:
    read = []
    layer = model.backbone.layer(0)

    def step(*given: object) -> None:
        read.append(1)
        time.sleep(0.01)  # time to close it long before its end

    handle = layer.register_forward_hook(step)
    with model.stream(ASKED, max_new_tokens=200) as stream:
        next(stream)
    assert _threads() == 0
    seen = len(read)
    assert seen < 190
    assert list(stream) == [] and stream.finish_reason is None
    dropped = model.stream(ASKED, max_new_tokens=200)
    next(dropped)
    del dropped
    gc.collect()
    deadline = time.time() + 60
    while _threads() and time.time() < deadline:
        time.sleep(0.01)
    assert _threads() == 0 and len(read) - seen < 190
    handle.remove()
    assert model.generate([ASKED], max_new_tokens=3)  # the model is free


def test_what_was_in_force_at_the_beginning_counts(model: ScalpelModel) -> None:
    (expected,) = model.respond([ASKED], max_new_tokens=30)
    stream = model.stream(ASKED, max_new_tokens=30)
    model.remove(["eiffel"])
    assert "".join(stream) == expected.whole


def test_problems_are_told(monkeypatch: pytest.MonkeyPatch, model: ScalpelModel) -> None:
    for settings, message in (
        ({"max_new_tokens": -1}, "max_new_tokens is a whole number"),
        ({"warmth": 3}, "no setting 'warmth'"),
        ({"streamer": print}, "a stream has its own streamer"),
    ):
        with pytest.raises(InputError, match=message):
            model.stream(ASKED, **settings)
    with pytest.raises(InputError, match="generate: "):
        list(model.stream(ASKED, num_beams=2))
    gpt = make_backbone("gpt2")
    with pytest.raises(InputError, match="reads 256 tokens"):
        ScalpelModel(gpt, random_pack(gpt)).stream("a " * 300)

    def broken(self: object, tokens: object) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr("lks.editors.lks.stream._Writing.put", broken)
    stream: Stream = model.stream(ASKED)
    with pytest.raises(RuntimeError, match="no more"):
        next(stream)
    assert list(stream) == []
