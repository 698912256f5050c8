"""Which tokens are read, scored and trained: white space, end-of-text, the last position."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import transformers as tf
from conftest import DEVICE, SENTENCES, make_backbone, make_edits, make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.engine.batching import collate
from lks.model.engine.reader import TextRow, prefill
from lks.model.engine.split_model import SplitModel
from lks.model.engine.transformers import generate_ids
from lks.model.tokens import tokenized
from lks.scope.scope import Scope
from lks.training.config import TrainingConfig
from lks.training.examples import EditExamples, build_examples
from lks.training.prompts import training_prompts
from lks.training.train_pack import train_pack

SPACED = ["Answer:\n", "1, 2, 3, ", "Where is it?\t", "Rome  ", "The capital:\n\n", " \n"]


def own_ids(backbone: Backbone, ids: list[int], new: int = 6) -> list[int]:
    """What transformers' own greedy decoding writes behind tokens."""
    read = torch.tensor([ids], device=backbone.device)
    out = backbone.model.generate(
        read, attention_mask=torch.ones_like(read), do_sample=False, max_new_tokens=new
    )
    return list(out[0, len(ids) :].tolist())


def examples_of(backbone: Backbone, edits: EditSet, **settings: object) -> list[EditExamples]:
    prompts, _ = training_prompts(edits)
    split = SplitModel(backbone, [1], torch.float32)
    options = {"chat": True, "kl_tokens": 3} | settings
    return build_examples(split, edits, prompts, Scope(edits), **options)[0]  # type: ignore[arg-type]


# --- white space behind a prompt ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_a_prompt_is_read_as_it_is(name: str) -> None:
    backbone = make_backbone(name, chat=True)
    tokenizer, edits = backbone.tokenizer, make_edits()
    edited = ScalpelModel(backbone, train_pack(backbone, edits, TrainingConfig(epochs=1, layer=1)))
    assert not any(edited.triggered(SPACED))
    for prompt in SPACED:
        turn = [{"role": "user", "content": prompt}]
        chat = tokenizer.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
        for ids, options in ((tokenizer(prompt).input_ids, {}), (chat, {"chat": True})):
            expected = tokenizer.decode(own_ids(backbone, ids), skip_special_tokens=True)
            for model in (UneditedModel(backbone), edited):
                (written,) = model.respond([prompt], max_new_tokens=6, **options)
                assert written.whole == expected, (prompt, options)


@pytest.mark.parametrize("prompt", ["Ada was born in ", "Ada was born in", "Ada:\n", "1,\t"])
@pytest.mark.parametrize("chat", [False, True])
def test_a_target_is_scored_behind_the_tokens_that_are_read(prompt: str, chat: bool) -> None:
    backbone = make_backbone("llama", chat=True)
    ids, _ = backbone.tokenize(backbone.render(prompt, chat=chat), chat=chat)
    joined, _ = backbone.join(prompt, "Rome", chat=chat)
    whole, offsets = backbone.tokenize(joined, chat=chat)
    assert whole[: len(ids)] == ids
    assert backbone.tokenizer.decode(whole) == joined.text
    assert [joined.text[a:b] for a, b in offsets] == [backbone.tokenizer.decode([i]) for i in whole]
    (score,) = UneditedModel(backbone).score([(prompt, "Rome")], chat=chat)
    assert list(score.tokens) == whole[len(ids) :]
    assert [score.predicted[0]] == own_ids(backbone, ids, 1)


def test_the_tokens_that_are_trained_are_those_that_are_written() -> None:
    backbone = make_backbone("llama")
    for space in ("", " ", "\n", "\n\n"):
        edits = EditSet([replace(edit, prompt=edit.prompt + space) for edit in make_edits()])
        for edit, own in zip(edits, examples_of(backbone, edits), strict=True):
            (score,) = UneditedModel(backbone).score([(edit.prompt, edit.target)])
            (example,) = own.reliability
            assert example.labels is not None
            assert example.labels.tolist() == [*score.tokens, backbone.stop_id(chat=False)]
            read_before = len(backbone.tokenizer(edit.prompt).input_ids)
            past = sum(part.shape[3] for part in example.text.past if part.shape[4] > 1)
            assert past + int(example.text.scored[0]) == read_before - 1


def test_no_space_comes_between_white_space_and_a_target() -> None:
    """Tokenizers that put a space before each text do not put one here."""
    made = Tokenizer(models.BPE(unk_token="?"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=["?"], initial_alphabet=["\n"], show_progress=False
    )
    made.train_from_iterator(SENTENCES, trainer)
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=made)
    for prompt in ("Where is ", "Where is\n", "Where is"):
        for target in ("Rome", "\nRome", "in Rome"):
            ids, spans = tokenized(tokenizer, prompt + target, len(prompt), special=False)
            assert tokenizer.decode(ids) == prompt + target
            assert spans[-1][1] == len(prompt + target)
            assert ids[: len(tokenizer(prompt).input_ids)] == tokenizer(prompt).input_ids


# --- end-of-text behind a text ------------------------------------------------------------------


def appending(*, bos: bool) -> Backbone:
    backbone = make_backbone("llama", chat=True, bos=bos)
    if bos:
        backbone.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A <|eos|>", special_tokens=[("<|bos|>", 0), ("<|eos|>", 1)]
        )
    else:
        backbone.tokenizer.add_eos_token = True
    assert backbone.tokenizer("a").input_ids[-1] == 1
    return backbone


@pytest.mark.parametrize("bos", [False, True])
def test_an_end_of_text_that_the_tokenizer_appends_is_left_out(bos: bool) -> None:
    with_end, without = appending(bos=bos), make_backbone("llama", chat=True, bos=bos)
    assert with_end.adds_bos is without.adds_bos is bos
    for text in ("", "a", "Ada was", "a <|eos|>", "Answer:\n"):
        assert with_end.tokenize(text, chat=False) == without.tokenize(text, chat=False)
    texts = ["Ada Lovelace was", "Where is the Eiffel Tower? "]
    pairs = [("Ada Lovelace was born in", "Oslo"), ("Answer:\n", "Rome"), ("", "Rome")]
    made = [
        (
            UneditedModel(backbone).generate(texts, max_new_tokens=5),
            UneditedModel(backbone).score(pairs),
            [
                (example.labels, example.text.states, example.text.scored)
                for own in examples_of(backbone, make_edits())
                for example in (*own.reliability, *own.generality, *own.locality)
            ],
        )
        for backbone in (with_end, without)
    ]
    assert made[0][:2] == made[1][:2]
    assert len(made[0][2]) == len(made[1][2]) > 10
    for one, other in zip(made[0][2], made[1][2], strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is b is None) or torch.equal(a, b)


# --- the last position --------------------------------------------------------------------------


def small(name: str, positions: int = 40) -> Backbone:
    torch.manual_seed(0)
    common = {"vocab_size": 360, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    sized = {"initializer_range": 0.25, "init_std": 0.25}
    config = (
        tf.GPT2Config(n_embd=32, n_layer=4, n_head=4, n_positions=positions, **common, **sized)
        if name == "gpt2"
        else tf.OPTConfig(
            hidden_size=32, word_embed_proj_dim=32, ffn_dim=64, num_hidden_layers=4,
            num_attention_heads=4, max_position_embeddings=positions, **common, **sized,
        )
    )  # fmt: skip
    model = tf.AutoModelForCausalLM.from_config(config)
    return Backbone(model.float().to(DEVICE), make_tokenizer(), f"tiny-{name}")


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_a_text_ends_at_the_last_position(name: str) -> None:
    backbone = small(name)
    assert backbone.context == 40
    model, prompts = UneditedModel(backbone), ["a" * 40, "a" * 30, "b" * 25, "Ada"]
    rendered = [backbone.render(prompt, chat=False) for prompt in prompts]
    for most in (4, 500):
        ids = generate_ids(
            backbone, rendered, lambda batch: nullcontext(), chat=False, max_new_tokens=most,
            eos_token_id=None,
        )  # fmt: skip
        lengths = [len(backbone.tokenize(text, chat=False)[0]) for text in rendered]
        assert lengths[0] == 40
        assert [len(own) for own in ids] == [min(most, 41 - n) for n in lengths]
        for text, own in zip(rendered, ids, strict=True):
            read, _ = backbone.tokenize(text, chat=False)
            assert own[:10] == own_ids(backbone, read, min(10, len(own)))[:10] or 1 in own
    written = model.respond(prompts, max_new_tokens=500, eos_token_id=None)
    assert all(text.finish_reason == "length" for text in written)
    told = rf"^tiny-{name} reads 40 tokens, and a text has 4\d \(\"a+(\.\.\.)?\"\); shorten"
    with pytest.raises(InputError, match=told):
        model.generate(["a" * 41])
    with pytest.raises(InputError, match=told):
        model.score([("a" * 40, "Rome")])
    with pytest.raises(InputError, match=r'2 texts have more, the longest 50 \("aa'):
        model.generate(["Ada", "b" * 41, "a" * 50])


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt_neox", "phi3"])
def test_models_that_compute_positions_read_no_more_than_their_context(name: str) -> None:
    backbone = make_backbone(name, chat=True)
    assert (backbone.context or 0) > 1000, "as the config says"
    backbone.model.config.max_position_embeddings = 40
    backbone = Backbone(backbone.model, backbone.tokenizer, "small")
    model = UneditedModel(backbone)
    asked, options = backbone.render("a" * 30, chat=False), {"max_new_tokens": 500}
    (ids,) = generate_ids(
        backbone, [asked], lambda batch: nullcontext(), chat=False, eos_token_id=None, **options
    )
    assert len(ids) == 41 - len(backbone.tokenize(asked, chat=False)[0])
    (written,) = model.respond(["a" * 30], eos_token_id=None, **options)
    assert written.finish_reason == "length"
    turns = [{"role": "user", "content": "Ada " * 3}, {"role": "user", "content": "b" * 90}]
    for ask in (
        lambda: model.generate(["a" * 41]),
        lambda: model.generate([turns], chat=True),
        lambda: model.score([("Ada", "Rome"), ("a" * 40, "Rome")]),
    ):
        with pytest.raises(
            InputError, match=r"^small reads 40 tokens, and a text has \d+ \(\"[ab]"
        ):
            ask()


def test_a_context_that_is_stretched_counts_whole() -> None:
    plain = make_backbone("llama")
    for rotary, expected in (
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}, 8192),
        ({"rope_type": "linear", "factor": 2.0}, 4096),
        ({"rope_type": "llama3", "factor": 2.0, "original_max_position_embeddings": 512}, 2048),
        ({"full_attention": {"rope_type": "linear", "factor": 8.0}, "other": None}, 16384),
    ):
        plain.model.config.rope_parameters = rotary
        assert Backbone(plain.model, plain.tokenizer).context == expected
    config = tf.BloomConfig(vocab_size=360, hidden_size=32, n_layer=2, n_head=4)
    bloom = Backbone(tf.AutoModelForCausalLM.from_config(config).to(DEVICE), make_tokenizer())
    assert bloom.context is None, "its config does not say"
    assert len(UneditedModel(bloom).score([("a" * 90, "Rome")])[0].tokens) > 0


def test_training_reads_up_to_the_last_position() -> None:
    """Padding beside a text that ends there has positions beyond it."""
    backbone = small("gpt2", positions=31)
    split = SplitModel(backbone, [1], torch.float32)
    ids = backbone.tokenize("b" * 31, chat=False)[0]
    assert len(ids) == 31
    rows = [
        TextRow(ids, [28], [29], 28),
        TextRow(ids[:25], [2], [23], 2),
        TextRow(ids[:29], [27], [28], 27),
    ]
    rows += [TextRow(ids[:30], [27], [29], 27, final=True, continued=1)]
    suffixes = prefill(split, rows)
    together = split.final_states(collate(suffixes), lambda _, r: r)
    alone = [split.final_states(collate([s]), lambda _, r: r) for s in suffixes]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)
    with pytest.raises(InputError, match="reads 31 tokens, and a text has 32"):
        prefill(split, [TextRow([*ids, 1], [2], [5])])


def test_locality_is_trained_up_to_the_last_position() -> None:
    backbone, edits = small("gpt2", positions=36), make_edits()
    longest = max(
        len(backbone.tokenize(prompt, chat=False)[0])
        for own in training_prompts(edits)[0]
        for prompt in own.locality
    )
    backbone = small("gpt2", positions=longest + 1)
    examples = examples_of(backbone, EditSet([edits[0], edits[3]]), kl_tokens=8)
    places = {len(e.text.scored) for own in examples for e in own.locality}
    assert 2 in places  # the last token of the prompt, and one more
