"""What counts of a model's own generation config, and what a call may set."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
import transformers as tf
from conftest import make_backbone, make_tokenizer

from lks.blocks.in_force import Located
from lks.editors.unedited import UneditedModel
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.chat import Rendered
from lks.model.engine.protocol import Generation

PROMPTS = ["Ada Lovelace was born in", "Where is it?", "The capital of Japan"]


@pytest.fixture
def gpt() -> Backbone:
    return make_backbone("gpt_neox")


def own_ids(backbone: Backbone, prompt: str, **settings: object) -> list[int]:
    """What transformers' own greedy decoding writes."""
    read = backbone.tokenizer(prompt, return_tensors="pt").to(backbone.device)
    out = backbone.model.generate(**read, do_sample=False, pad_token_id=1, **settings)
    return list(out[0, read.input_ids.shape[1] :].tolist())


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 2},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "temperature": 3.0, "top_k": 40},
        {"return_dict_in_generate": True, "output_scores": True},
        {"min_new_tokens": 9, "min_length": 60},
        {"max_length": 5, "max_new_tokens": 2},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"forced_bos_token_id": 9, "guidance_scale": 2.0, "token_healing": True},
        {"eos_token_id": [1, 300], "pad_token_id": 5},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_greedy_is_greedy_whatever_the_models_file_says(
    gpt: Backbone, settings: dict[str, object]
) -> None:
    early = own_ids(gpt, PROMPTS[0], max_new_tokens=3)[2]  # a longer text would show
    given = tf.GenerationConfig(**{"eos_token_id": [1, early], **settings})
    gpt.model.generation_config = tf.GenerationConfig(eos_token_id=given.eos_token_id)
    expected = UneditedModel(gpt).respond(PROMPTS, max_new_tokens=8)
    assert (expected[0].finish_reason == "stop") == (early in given.eos_token_id)
    gpt.model.generation_config, told = given, given.to_dict()
    written = UneditedModel(gpt).respond(PROMPTS, max_new_tokens=8)
    assert written == expected
    assert gpt.model.generation_config is given
    assert given.to_dict() == told


@pytest.mark.parametrize("penalty", [{"repetition_penalty": 1.8}, {"no_repeat_ngram_size": 2}])
def test_which_tokens_a_model_may_write_is_for_its_file_to_say(
    gpt: Backbone, penalty: dict[str, float]
) -> None:
    without = UneditedModel(gpt).respond(PROMPTS, max_new_tokens=12, batch_size=1)
    gpt.model.generation_config = tf.GenerationConfig(eos_token_id=1, **penalty)
    written = UneditedModel(gpt).respond(PROMPTS, max_new_tokens=12, batch_size=1)
    own = [own_ids(gpt, prompt, max_new_tokens=12) for prompt in PROMPTS]
    assert [w.whole for w in written] == gpt.tokenizer.batch_decode(own, skip_special_tokens=True)
    assert written != without


class Unedited:
    """Looks through texts in which nothing is edited."""

    special_ids, roles, in_force = (
        (),
        ("user",),
        SimpleNamespace(replacing=lambda *given: nullcontext()),
    )
    tokenizer = make_tokenizer()

    def __call__(self, texts: Sequence[Rendered], offsets: object) -> list[Located]:
        return [Located([], [], []) for _ in texts]

    def stated(self, edit_ids: Sequence[str]) -> set[str]:
        return set()

    def may_fire(self, text: str) -> set[str]:
        return set()


@pytest.mark.parametrize("where", ["file", "call"])
@pytest.mark.parametrize("rescan", [False, True])
def test_strings_that_end_a_text(gpt: Backbone, where: str, rescan: bool) -> None:
    from lks.editors.lks import rescan as rescanning
    from lks.model.engine.transformers import generate

    def write(**settings: object) -> list:
        def intervention(batch: object) -> torch.no_grad:
            return torch.no_grad()

        if rescan:
            return rescanning.generate(gpt, PROMPTS, Unedited(), [], **settings)
        return generate(gpt, PROMPTS, intervention, **settings)

    whole = write(max_new_tokens=20, eos_token_id=None)
    assert all(text.finish_reason == "length" for text in whole)
    stop = whole[0].whole[3:5]
    given = {"max_new_tokens": 20, "eos_token_id": None}
    if where == "file":
        gpt.model.generation_config.stop_strings = [stop]
    else:
        given["stop_strings"] = stop
    cut = write(**given)
    assert cut[0].finish_reason == "stop"
    assert stop in cut[0].whole[: 5 + len(stop)]
    for text, long in zip(cut, whole, strict=True):
        assert long.whole.startswith(text.whole)
        assert (text.finish_reason == "stop") == (stop in long.whole)
        assert text.whole.count(stop) <= 1


def test_end_tokens_of_a_call_take_the_place_of_the_models(gpt: Backbone) -> None:
    model = UneditedModel(gpt)
    ids = own_ids(gpt, PROMPTS[0], max_new_tokens=8)
    for given in (ids[3], [ids[3], 2]):
        for settings in ({}, {"pad_token_id": 7}, {"num_beams": 1}):
            written = model.respond(PROMPTS, max_new_tokens=8, eos_token_id=given, **settings)
            first = gpt.tokenizer.decode(ids[: ids.index(ids[3]) + 1])
            assert (written[0].whole, written[0].finish_reason) == (first, "stop")


def test_no_new_tokens_are_no_text(gpt: Backbone) -> None:
    for settings in ({}, {"stop_strings": ["o"]}, {"num_beams": 2}):
        written = UneditedModel(gpt).respond(PROMPTS, max_new_tokens=0, **settings)
        assert written == [Generation("", "length")] * 3


def test_texts_are_streamed_one_after_the_other(gpt: Backbone) -> None:
    class Kept:
        def __init__(self) -> None:
            self.ids: list[int] = []

        def put(self, ids: torch.Tensor) -> None:
            self.ids += ids.flatten().tolist()

        def end(self) -> None:
            self.ids.append(-1)

    model, kept = UneditedModel(gpt), Kept()
    prompts = [PROMPTS[0], "a"]
    written = model.respond(prompts, max_new_tokens=3, eos_token_id=None, streamer=kept)
    expected = []
    for prompt, text in zip(prompts, written, strict=True):
        expected += [*gpt.tokenizer(prompt).input_ids, *gpt.tokenizer(text.whole).input_ids, -1]
    assert gpt.tokenizer.decode([i for i in kept.ids if i >= 0]) == gpt.tokenizer.decode(
        [i for i in expected if i >= 0]
    )
    assert kept.ids.count(-1) == 2
    assert written == model.respond(prompts, max_new_tokens=3, eos_token_id=None)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_return_sequences": 2}, "one text a prompt is written"),
        ({"max_new_tokens": -1}, "a whole number from 0 on, not -1"),
        ({"max_new_tokens": None}, "a whole number from 0 on, not None"),
        ({"num_beam": 2}, "no setting 'num_beam'; did you mean num_beams?"),
        ({"max_length": 9, "temprature": 1}, "give max_new_tokens; no setting 'temprature'"),
        ({"generation_config": tf.GenerationConfig()}, "give its settings one by one"),
        ({"return_dict_in_generate": True}, "texts come back"),
        ({"input_ids": torch.zeros(1, 1)}, "no setting 'input_ids'"),
        ({"do_sample": True, "temperature": -1.0}, "temperature"),
        ({"num_beams": 2, "streamer": object()}, "streamer"),
    ],
)
def test_what_cannot_be_set_is_said_in_one_line(
    gpt: Backbone, settings: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError) as caught:
        UneditedModel(gpt).generate(PROMPTS, **settings)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_head_reads_states_that_lie_row_after_row(gpt: Backbone) -> None:
    read: list[bool] = []

    def note(head: torch.nn.Module, args: tuple[torch.Tensor, ...], logits: object) -> None:
        (states,) = args
        read.append(states.stride() == torch.empty(states.shape).stride())

    states = torch.rand(3, 5, gpt.width)[:, -1]  # no rows of their own
    hook = gpt.model.get_output_embeddings().register_forward_hook(note)
    try:
        UneditedModel(gpt).respond(["One two three", "Four five", "Six"], max_new_tokens=2)
        gpt.head(states)
    finally:
        hook.remove()
    assert read and all(read)
