"""Architectures: some of each kind through all steps of the survey, and its committed output.

`make survey` runs every family, and writes that output.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import survey
import torch
from conftest import make_backbone, make_edits, make_tokenizer
from test_cli import QUICK, run
from tokenizers import processors

from lks.editors.baselines.finetune import FineTune, TuneSettings
from lks.editors.baselines.grace import Grace
from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.errors import InputError, LayerError, ModelError
from lks.model.backbone import Backbone
from lks.model.engine import choice, guard, probes
from lks.model.engine.choice import choose_engine
from lks.model.engine.continuous import Limits
from lks.model.engine.whole_model import UpperModel, WholeModel
from lks.serving.transformers_engine import TransformersEngine
from lks.training.train_pack import train_pack

FAMILIES = survey.families()
# One of each kind, and the engine that reads it. Llama, GPT-2 and others are in the other tests.
KINDS = {
    "qwen2_moe": "suffix",  # a head that asks the decoder's output for more
    "falcon": "suffix",  # layers that answer a tuple
    "mpt": "suffix",  # a list of layers of another name, and ALiBi
    "deepseek_v3": "upper",  # keys and values of different widths
    "jamba": "upper",  # some layers without keys
    "mamba": "upper",  # no layer with keys
    "gemma4 6 layers": "upper",  # some keys are shared
    "opt-350m-like": "upper",  # states wider than embeddings
    "gemma3n 6 layers": "whole",  # several streams
    "minimax": "upper",  # a cache some of whose layers stay empty
    "rwkv": "whole",  # no padding, and a cache of its own
    "llava": "suffix",  # the text half of a model that reads images
    "t5": "whole",  # encoders
    "bart": "upper",
}
REFUSED = {
    "gemma3n shared2": "cannot reach later tokens.*take a lower layer",
    "bart causal": "is the decoder of an encoder-decoder without its encoder; open the whole model",
}


@pytest.fixture(scope="module")
def results() -> dict[str, dict]:
    rows = json.loads(survey.RESULTS.read_text(encoding="utf-8"))["families"]
    return {row["name"]: row for row in rows}


@pytest.fixture
def t5() -> Backbone:
    return Backbone(survey.build(FAMILIES["t5"]), make_tokenizer(), "tiny-t5")


@pytest.fixture
def bart() -> Backbone:
    return Backbone(survey.build(FAMILIES["bart"]), make_tokenizer(), "tiny-bart")


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_passes_all_steps_by_its_engine(name: str) -> None:
    found = survey.survey(FAMILIES[name])
    assert found.passed, (found.refused, found.steps)
    assert found.engine == KINDS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_edited_is_refused_in_one_line(name: str) -> None:
    with pytest.raises((LayerError, ModelError), match=REFUSED[name]) as told:
        backbone = Backbone(survey.build(FAMILIES[name]), make_tokenizer(), name)
        choose_engine(backbone, [survey.LAYER])
    assert "\n" not in str(told.value)


def test_the_survey_covers_the_families_and_finds_none_silently_wrong(results: dict) -> None:
    assert results.keys() == FAMILIES.keys()
    good = {"decoder": 0, "encoder-decoder": 0}
    for row in results.values():
        assert not any(own.startswith("wrong") for own in row["steps"].values()), row
        if row["refused"] is None and row["steps"]:
            assert row["steps"].keys() == survey.STEPS.keys()
        good[row["kind"]] += row["passed"] or row["refused"] is not None
    assert good["decoder"] >= 79 and good["encoder-decoder"] == 8
    assert {name: results[name]["engine"] for name in KINDS} == KINDS


def test_an_engine_that_is_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs without an error: one has other values, one other gradients."""

    class Values(UpperModel):
        name = "values"

        def final_states(self, batch, blocks):
            return super().final_states(batch, lambda layer, r: blocks(layer, r).roll(1, 0))

    class Gradients(UpperModel):
        name = "gradients"

        def final_states(self, batch, blocks):
            def flatter(layer, r):
                new = blocks(layer, r)
                return new.detach() + 0.1 * (new - new.detach())

            return super().final_states(batch, flatter)

    backbone = make_backbone("llama")
    monkeypatch.setattr(choice, "ENGINES", (Values, Gradients, WholeModel))
    assert choose_engine(backbone, [1]).name == "whole"
    assert backbone.engines == {(1,): "whole"}
    monkeypatch.setattr(choice, "ENGINES", (Values, Gradients))
    with pytest.raises(LayerError, match=r"layer 2 .*values: off by .* standard deviations"):
        choose_engine(backbone, [2])


def test_a_probe_is_remembered_for_the_engines_it_chose_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LKS_CACHE", str(tmp_path))
    monkeypatch.setattr(probes, "LONG", 0.0)
    assert choose_engine(make_backbone("llama"), [1]).name != "whole"
    kept = {*tmp_path.iterdir()}
    assert len(kept) == 1
    assert choose_engine(make_backbone("llama"), [1]).name != "whole"
    assert {*tmp_path.iterdir()} == kept
    monkeypatch.setattr(choice, "ENGINES", (WholeModel,))
    assert choose_engine(make_backbone("llama"), [1]).name == "whole"


def test_a_model_that_passes_no_gradients_is_refused(backbone: Backbone) -> None:
    own = backbone.layer(3).forward
    backbone.layer(3).forward = lambda states, **kwargs: own(states.detach(), **kwargs)
    with pytest.raises(LayerError, match="no gradients reach layer 1"):
        choose_engine(backbone, [1])


def test_a_choice_that_took_long_is_kept_for_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lks.files.cache_dir", lambda: tmp_path)
    monkeypatch.setattr(probes, "LONG", -1.0)
    assert choose_engine(make_backbone("llama"), [1]).name == "suffix"
    asked = []
    monkeypatch.setattr(choice, "_probed", lambda *given: asked.append(given) or "whole")
    assert choose_engine(make_backbone("llama"), [1]).name == "suffix" and not asked
    assert choose_engine(make_backbone("llama"), [2]).name == "whole"  # another layer
    assert choose_engine(make_backbone("llama", seed=1), [1]).name == "whole"  # other weights
    assert len(asked) == 2


def test_what_a_model_can_do_is_found_out(backbone: Backbone) -> None:
    assert backbone.pads_left and backbone.shares_prefixes
    rwkv, jamba = (
        Backbone(survey.build(FAMILIES[name]), make_tokenizer(), name) for name in ("rwkv", "jamba")
    )
    assert not rwkv.pads_left and not rwkv.shares_prefixes
    assert jamba.pads_left and not jamba.shares_prefixes
    assert not probes.near(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 2.0]))


def test_single_numbers_may_be_rounded_far_but_only_in_fewer_bits() -> None:
    expected = torch.randn(1_000, generator=torch.Generator().manual_seed(0))
    outlier, other = expected.clone(), expected.flip(0)
    outlier[0] += 1
    assert not probes.near(outlier, expected)
    assert not probes.near(outlier, expected, torch.bfloat16)
    assert probes.near(outlier, expected, torch.bfloat16, slopes=True)
    assert not probes.near(other, expected, torch.bfloat16, slopes=True)


@pytest.mark.parametrize("name", ["t5", "llava", "llama"])
def test_a_folder_is_opened_by_the_right_class(name: str, tmp_path: Path) -> None:
    model = survey.build(FAMILIES[name])
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    opened = Backbone.load(str(tmp_path), device="cpu")
    assert type(opened.model) is type(model)
    assert opened.layers_path == Backbone(model, make_tokenizer()).layers_path


def test_fine_tuning_reads_whole_texts_where_states_are_not_all_that_is_read() -> None:
    """Gemma 4's upper layers look at the tokens again."""
    name, edits = "gemma4 6 layers", make_edits()
    backbone = Backbone(survey.build(FAMILIES[name]), make_tokenizer(), name)
    pairs = [(edit.prompt, edit.target) for edit in edits]
    before = sum(sum(score.logprobs) for score in UneditedModel(backbone).score(pairs))
    with FineTune(layer=2, settings=TuneSettings(epochs=3)).apply(backbone, edits) as model:
        assert sum(sum(score.logprobs) for score in model.score(pairs)) > before


# --- encoder-decoders -----------------------------------------------------------------------------


def test_an_encoder_decoder_is_edited_like_any_other_model(bart: Backbone) -> None:
    edits, base = EditSet(list(make_edits())[:3]), UneditedModel(bart)
    model = ScalpelModel(bart, train_pack(bart, edits, replace(survey.TRAINING, epochs=12)))
    pairs = [(edit.prompt, edit.target) for edit in edits]
    for after, before in zip(model.score(pairs), base.score(pairs), strict=True):
        assert sum(after.logprobs) > sum(before.logprobs) + 1
        assert after.tokens == before.tokens  # the target's alone
    prompts = [prompt for prompt, _ in pairs]
    answers = model.respond(prompts, max_new_tokens=8)
    assert all(edit.id in answer.fired for edit, answer in zip(edits, answers, strict=True))
    assert answers[0].text.startswith("Rome")
    assert [answer.text for answer in base.respond(prompts, max_new_tokens=8)] != answers
    with model.stream(prompts[0], max_new_tokens=8) as pieces:
        assert "".join(pieces).strip() == answers[0].text
    others = [("Where is Rome?", "Oslo")]
    assert model.score(others) == base.score(others)
    assert len(model.add([make_edits().by_id("fuji")], epochs=1)) == 1
    with pytest.raises(InputError, match="its encoder reads the prompt alone"):
        model.respond(["Rome"], rescan=True)


def test_a_guard_reads_what_the_decoder_has_written_not_the_prompt(bart: Backbone) -> None:
    texts = [bart.render(prompt, chat=False) for prompt in ("Where is Rome?", "Who is it?")]
    encoding = bart.encode(texts, chat=False)
    plan = survey.plan(encoding, torch.zeros(2, bart.width), [(0, 1), (1, 1)])
    targets = replace(plan, targets=[["in the city of Rome"], []])
    (kept,) = guard.settings(bart, encoding, targets, {})["logits_processor"]
    own = bart.tokenizer("in the city of Rome", add_special_tokens=False).input_ids
    start = bart.model.config.decoder_start_token_id
    written = torch.tensor([[start, *own[:-1]], [start, *own[:-1]]])
    scores = kept(written, torch.zeros(2, 360))
    assert scores[0].isfinite().nonzero().flatten().tolist() == [own[-1]]
    assert not scores[1].any()


def test_an_encoder_reads_what_its_tokenizer_puts_behind_a_text(t5: Backbone) -> None:
    ended = processors.TemplateProcessing(
        single="$A <|eos|>", special_tokens=[("<|eos|>", t5.tokenizer.eos_token_id)]
    )
    t5.tokenizer.backend_tokenizer.post_processor = ended
    decoder = Backbone(make_backbone("llama").model, t5.tokenizer, "tiny-llama")
    ids, _ = decoder.tokenize("Rome", chat=False)
    assert t5.tokenize("Rome", chat=False)[0] == [*ids, t5.tokenizer.eos_token_id]
    assert t5.answer("Rome") == ([t5.model.config.decoder_start_token_id], ids)


def test_what_does_not_take_an_encoder_decoder_says_so(t5: Backbone) -> None:
    with pytest.raises(ModelError, match="tiny-t5 is an encoder-decoder, and these are not served"):
        TransformersEngine(t5, Limits()).start()
    with pytest.raises(ModelError, match="this editor is made for decoders"):
        with Grace().apply(t5, make_edits()):
            pass


def test_the_command_line_edits_asks_and_evaluates_an_encoder_decoder(tmp_path: Path) -> None:
    model, facts, pack = (tmp_path / name for name in ("model", "facts.jsonl", "pack"))
    survey.build(FAMILIES["bart"]).save_pretrained(model)
    make_tokenizer().save_pretrained(model)
    make_edits().save(facts)
    code, _, err = run("edit", facts, "--model", model, "--out", pack, *QUICK, "--no-self-test")
    assert code == 0, err
    code, out, err = run("ask", pack, "Where is the Eiffel Tower?", "--model", model)
    assert code == 0 and out.strip(), err
    code, out, err = run("eval", pack, "--data", facts, "--model", model, "--limit", 1)
    assert code == 0 and "eliability" in out, err
