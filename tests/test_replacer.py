"""The hook against hand-written forward passes, on every architecture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Event, Thread

import pytest
import torch
from conftest import ARCHITECTURES, DEVICE, make_backbone, make_tokenizer
from torch import nn
from transformers import OPTConfig, OPTForCausalLM

from lks.model.backbone import Backbone
from lks.model.chat import Rendered
from lks.model.encoding import Encoding
from lks.model.engine.hook import Plan, replacing
from lks.model.engine.transformers import score

LAYER = 1
TEXTS = [
    "The Eiffel Tower is located in the city of",
    "Where is the Eiffel Tower?",
    "Rome",
    "Ada Lovelace was born in London.",
]
PLACES = [(0, 2), (0, 5), (2, 0), (3, 3)]  # (text, token); text 1 has none


class _ByHand(nn.Module):
    """A decoder layer whose outputs are overwritten at given places."""

    def __init__(self, layer: nn.Module, rows: list[int], columns: list[int], new: torch.Tensor):
        super().__init__()
        self.layer, self.rows, self.columns, self.new = layer, rows, columns, new

    def forward(self, *args, **kwargs):
        out = self.layer(*args, **kwargs)
        hidden = (out if isinstance(out, torch.Tensor) else out[0]).clone()
        for row, column, vector in zip(self.rows, self.columns, self.new, strict=True):
            hidden[row, column] = vector
        return hidden if isinstance(out, torch.Tensor) else (hidden, *out[1:])


def encode(backbone: Backbone, side: str = "right") -> Encoding:
    return backbone.encode([Rendered.plain(t) for t in TEXTS], chat=False, side=side)


def plan_for(encoding: Encoding, blocks, places=PLACES) -> Plan:
    rows = torch.tensor([row for row, _ in places])
    columns = torch.tensor([encoding.starts[row] + token for row, token in places])
    return Plan(len(encoding.texts), rows.to(DEVICE), columns.to(DEVICE), blocks)


def run(backbone: Backbone, encoding: Encoding) -> torch.Tensor:
    with torch.no_grad():
        return backbone.model(
            **encoding.inputs, position_ids=encoding.position_ids, use_cache=False
        ).logits


def vectors(backbone: Backbone) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randn(len(PLACES), backbone.width).to(DEVICE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_equals_a_forward_pass_by_hand(any_backbone: Backbone, side: str) -> None:
    encoding, new = encode(any_backbone, side), vectors(any_backbone)
    plan = plan_for(encoding, lambda r, places: new[places])
    with replacing(any_backbone.layer(LAYER), plan):
        hooked = run(any_backbone, encoding)
    layers = [any_backbone.layer(index) for index in range(any_backbone.n_layers)]
    layers[LAYER] = _ByHand(layers[LAYER], plan.rows.tolist(), plan.columns.tolist(), new)
    by_hand = any_backbone.with_layers(layers)
    with torch.no_grad():
        states = by_hand(
            **encoding.inputs, position_ids=encoding.position_ids, use_cache=False
        ).last_hidden_state
    real = encoding.attention_mask.bool()
    expected = any_backbone.head(states[real])
    assert (hooked[real] - expected).abs().max() < 1e-5
    assert (hooked[real] - run(any_backbone, encoding)[real]).abs().max() > 1e-2


def test_the_head_above_a_decoder_that_lies_deeper() -> None:
    """OPT asks its model for the decoder."""
    config = OPTConfig(
        vocab_size=360, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64,
        word_embed_proj_dim=32, max_position_embeddings=64,
    )  # fmt: skip
    backbone = Backbone(OPTForCausalLM(config).to(DEVICE), make_tokenizer(), "opt")
    encoding = encode(backbone)
    real = encoding.attention_mask.bool()
    logits = backbone.head(backbone.final_states(encoding)[real])
    assert (logits - run(backbone, encoding)[real]).abs().max() < 1e-5


def test_identity_block_changes_nothing(any_backbone: Backbone) -> None:
    encoding = encode(any_backbone)
    with replacing(any_backbone.layer(LAYER), plan_for(encoding, lambda r, places: r)):
        same = run(any_backbone, encoding)
    assert torch.equal(same, run(any_backbone, encoding))


def test_rows_without_a_place_are_untouched_bit_for_bit(any_backbone: Backbone) -> None:
    encoding, new = encode(any_backbone), vectors(any_backbone)
    with replacing(any_backbone.layer(LAYER), plan_for(encoding, lambda r, p: new[p])):
        edited = run(any_backbone, encoding)
    assert torch.equal(edited[1], run(any_backbone, encoding)[1])


def test_tokens_before_the_place_are_untouched(any_backbone: Backbone) -> None:
    encoding, new = encode(any_backbone), vectors(any_backbone)
    with replacing(any_backbone.layer(LAYER), plan_for(encoding, lambda r, p: new[p])):
        edited = run(any_backbone, encoding)
    base = run(any_backbone, encoding)
    assert torch.equal(edited[0, :2], base[0, :2])
    assert not torch.allclose(edited[0, 2:], base[0, 2:])


def test_batch_equals_single(any_backbone: Backbone) -> None:
    encoding, new = encode(any_backbone, "left"), vectors(any_backbone)
    with replacing(any_backbone.layer(LAYER), plan_for(encoding, lambda r, p: new[p])):
        batch = run(any_backbone, encoding)
    for row, text in enumerate(TEXTS):
        alone = any_backbone.encode([Rendered.plain(text)], chat=False)
        own = [(i, token) for i, (r, token) in enumerate(PLACES) if r == row]
        plan = plan_for(
            alone, lambda r, p, own=own: new[[own[i][0] for i in p]], [(0, t) for _, t in own]
        )
        with replacing(any_backbone.layer(LAYER), plan):
            single = run(any_backbone, alone)
        assert (batch[row, encoding.starts[row] :] - single[0]).abs().max() < 1e-4


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True, "top_k": 5}])
def test_generation_with_and_without_cache(any_backbone: Backbone, settings: dict) -> None:
    encoding, new = encode(any_backbone, "left"), vectors(any_backbone)
    written = []
    for cache in (True, False):
        torch.manual_seed(5)
        plan = plan_for(encoding, lambda r, p: new[p])
        with replacing(any_backbone.layer(LAYER), plan):
            written.append(
                any_backbone.model.generate(
                    **encoding.inputs, max_new_tokens=6, use_cache=cache, pad_token_id=1, **settings
                )
            )
    width = min(part.shape[1] for part in written)
    assert torch.equal(written[0][:, :width], written[1][:, :width])


def test_generation_touches_prompt_positions_only(backbone: Backbone) -> None:
    encoding = encode(backbone, "left")
    seen = []

    def blocks(r: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        seen.append(len(places))
        return r + 1

    with replacing(backbone.layer(LAYER), plan_for(encoding, blocks)):
        backbone.model.generate(**encoding.inputs, max_new_tokens=4, eos_token_id=None)
    assert seen == [len(PLACES)]  # the reading of the prompt, none of the tokens after it


def test_several_samples_a_prompt(backbone: Backbone) -> None:
    encoding, new = encode(backbone, "left"), vectors(backbone)
    with replacing(backbone.layer(LAYER), plan_for(encoding, lambda r, p: new[p])):
        once = backbone.model.generate(**encoding.inputs, max_new_tokens=1, do_sample=False)
        torch.manual_seed(0)
        many = backbone.model.generate(
            **encoding.inputs, max_new_tokens=1, do_sample=True, top_k=1, num_return_sequences=3
        )
    assert torch.equal(many, once.repeat_interleave(3, 0))


def test_prefix_in_the_cache_moves_the_places(backbone: Backbone) -> None:
    """Reading a prompt in two pieces replaces each place once, in its own piece."""
    encoding, new = encode(backbone, "left"), vectors(backbone)
    with replacing(backbone.layer(LAYER), plan_for(encoding, lambda r, p: new[p])):
        whole = run(backbone, encoding)
        ids, mask, cut = encoding.input_ids, encoding.attention_mask, 9
        with torch.no_grad():
            first = backbone.model(
                input_ids=ids[:, :cut], attention_mask=mask[:, :cut],
                position_ids=encoding.position_ids[:, :cut], use_cache=True,
            )  # fmt: skip
            second = backbone.model(
                input_ids=ids[:, cut:], attention_mask=mask,
                position_ids=encoding.position_ids[:, cut:], past_key_values=first.past_key_values,
            )  # fmt: skip
    assert (whole[:, cut:] - second.logits).abs().max() < 1e-4


def test_nothing_stays_behind_after_an_exception(backbone: Backbone) -> None:
    encoding = encode(backbone)

    def broken(r: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken")

    before = run(backbone, encoding)
    with pytest.raises(RuntimeError, match="broken"):
        with replacing(backbone.layer(LAYER), plan_for(encoding, broken)):
            run(backbone, encoding)
    assert not backbone.layer(LAYER)._forward_hooks
    assert torch.equal(run(backbone, encoding), before)


def test_a_plan_for_another_batch_is_refused(backbone: Backbone) -> None:
    encoding = encode(backbone)
    plan = Plan(3, torch.tensor([0]), torch.tensor([0]), lambda r, p: r)
    with replacing(backbone.layer(LAYER), plan), pytest.raises(ValueError, match="3 prompts"):
        run(backbone, encoding)


def test_every_architecture_is_covered() -> None:
    assert len(ARCHITECTURES) == 9
    assert len({type(make_backbone(name).model) for name in ARCHITECTURES}) == 9


def test_threads_wait_for_each_other() -> None:
    backbone, order, inside = make_backbone("llama"), [], Event()

    @contextmanager
    def slow(encoding: Encoding) -> Iterator[None]:
        inside.set()
        time.sleep(0.2)
        yield
        order.append("edited")

    pair = [("The Eiffel Tower is in", "Rome")]
    thread = Thread(target=score, args=(backbone, pair, slow))
    thread.start()
    inside.wait()
    score(backbone, pair, lambda encoding: nullcontext())
    order.append("unedited")
    thread.join()
    assert order == ["edited", "unedited"]
