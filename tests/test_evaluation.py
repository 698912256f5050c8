from __future__ import annotations

import math
import random
from collections import Counter
from contextlib import nullcontext
from dataclasses import astuple, replace
from types import SimpleNamespace

import pytest
import torch
from conftest import make_backbone, make_edits

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Probe
from lks.errors import InputError
from lks.evaluation import metrics
from lks.evaluation.report import table_rows, to_html
from lks.evaluation.results import Uncontradicted
from lks.evaluation.runner import answer_limit, evaluate
from lks.model.backbone import Backbone
from lks.model.encoding import Tokens
from lks.model.engine import transformers
from lks.model.engine.hook import Plan, replacing
from lks.model.engine.protocol import Generation
from lks.model.engine.transformers import generate_ids
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack


def test_normalised_answers() -> None:
    assert metrics.exact_match(" The United  States. ", "united states")
    assert metrics.exact_match("“Rome”", "rome")
    assert not metrics.exact_match("Rome, Italy", "Rome")  # a right answer that runs on is wrong
    assert not metrics.exact_match("", "Rome")
    assert metrics.exact_match("1,000", "1000")
    for wrong, right in (("15", "1.5"), ("5", "-5"), ("C", "C#"), ("", "A"), ("the.", "A")):
        assert not metrics.exact_match(wrong, right)


def test_shares_and_means() -> None:
    assert metrics.share([True, False, True, True]) == 0.75
    assert metrics.agreement((1, 2, 3), (1, 5, 3)) == pytest.approx(2 / 3)
    assert metrics.mean([1.0, None, 0.0]) == 0.5
    assert metrics.mean([None]) is None
    assert metrics.edit_performance(1.0, 0.5, 0.0) == 0.5
    assert metrics.edit_performance(1.0, None, 0.0) is None


def test_containment_is_of_whole_words() -> None:
    assert metrics.contains("It is in Rome, Italy.", "Rome")
    assert metrics.contains("The United States!", "united states")
    assert not metrics.contains("A romeo", "Rome")
    assert not metrics.contains("Rome", "the")


def test_intervals_by_bootstrap_over_cases() -> None:
    assert metrics.interval([[1.0]]) is None
    assert metrics.interval([[0.5], [0.5], [0.5, 0.5]]) == (0.5, 0.5)
    values = [[float(i % 4 > 0)] for i in range(400)]
    low, high = metrics.interval(values)  # by the normal law .75 +- .042
    assert (low, high) == pytest.approx((0.7075, 0.7925), abs=0.008)
    # One case of many equal values is one case: the interval is wide.
    assert metrics.interval([[0.0] * 50, [1.0] * 50], seed=1) == (0.0, 1.0)


def test_the_interval_of_ep_is_about_ep() -> None:
    whole = [{"reliability": [1.0], "generality": [1.0], "locality": [1.0]}] * 5
    bare = [{"reliability": [0.0], "generality": [], "locality": []}] * 5
    low, high = metrics.joint_interval(whole + bare)  # EP is (.5 + 1 + 1) / 3
    assert low < 2.5 / 3 < high < 1
    assert (low, high) == pytest.approx((2.2 / 3, 2.8 / 3), abs=0.04)


def test_the_interval_of_several_seeds_is_that_of_all_their_cases() -> None:
    rng = random.Random(0)
    seeds = [[[float(rng.random() < p)] for _ in range(300)] for p in (0.6, 0.7, 0.8)]
    parts = [(metrics.mean(v for (v,) in own), metrics.interval(own)) for own in seeds]
    whole = metrics.interval([case for own in seeds for case in own])
    assert metrics.interval_of_mean(parts) == pytest.approx(whole, abs=0.01)
    assert metrics.interval_of_mean(parts[:1]) == pytest.approx(parts[0][1])
    assert metrics.interval_of_mean([*parts, (0.5, None)]) is None
    assert metrics.interval_of_mean([]) is None


def test_fluency_by_hand() -> None:
    # a b a b: 2-grams ab twice, ba once; 3-grams aba, bab
    two = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert metrics.ngram_entropy("a b a b") == pytest.approx((2 / 3 * two + 4 / 3 * 1.0) / 2)
    assert metrics.ngram_entropy("again " * 20) == 0.0
    assert metrics.ngram_entropy("") == 0.0
    assert metrics.ngram_entropy("one two three four five") > metrics.ngram_entropy("one two three")


@pytest.fixture(scope="module")
def models():
    backbone, edits = make_backbone("llama", chat=True), make_edits()
    config = TrainingConfig(
        layer=1,
        epochs=40,
        lr=1e-2,
        refine_lr=5e-2,
        batch_size=2,
        precision="float32",
        patience=0,
        scope="entity",
    )
    return UneditedModel(backbone), ScalpelModel(backbone, train_pack(backbone, edits, config))


def test_scores_of_an_edited_model(models) -> None:
    summary = evaluate(*models, make_edits(), max_new_tokens=12).summary()
    low, high = summary.intervals.reliability
    assert low <= summary.teacher_forced.reliability <= high
    assert summary.contained.reliability >= summary.free_running.reliability
    assert summary.n == 4
    pairs = [(edit.prompt, edit.target) for edit in make_edits()]
    for model, scores in zip(models, (summary.base, summary.teacher_forced), strict=True):
        by_hand = [sum(score.matches) / len(score.matches) for score in model.score(pairs)]
        assert scores.reliability == pytest.approx(sum(by_hand) / 4)
    assert summary.base.free_running.reliability == 0.0
    assert astuple(summary.triggered) == (1.0, 1.0, 1.0)
    assert None not in astuple(summary.fluency)
    *parts, ep = astuple(summary.teacher_forced)
    assert ep == pytest.approx(sum(parts) / 3)


def test_scores_without_edits_that_another_contradicts(models) -> None:
    edits = make_edits()
    every = evaluate(*models, edits, max_new_tokens=8, fluency_edits=0)
    assert every.summary().uncontradicted is None
    result = evaluate(
        *models, edits, max_new_tokens=8, fluency_edits=0, contradicted=[edits[0].id]
    ).summary()
    rest = evaluate(*models, edits[1:], max_new_tokens=8, fluency_edits=0).summary()
    assert result.teacher_forced == every.summary().teacher_forced
    assert result.uncontradicted == Uncontradicted(3, rest.teacher_forced, rest.free_running)
    assert "without the 1 that others contradict" in str(table_rows(result))


def test_the_unedited_model_against_itself(models) -> None:
    base, _ = models
    summary = evaluate(base, base, make_edits(), max_new_tokens=8).summary()
    assert summary.teacher_forced.locality == summary.free_running.locality == 1.0
    assert summary.teacher_forced.reliability == summary.base.reliability
    assert summary.fluency.before == summary.fluency.after
    assert summary.triggered.reliability == 0.0
    assert summary.locality_kl == 0
    assert summary.portability is None


def test_how_far_other_answers_moved_in_distribution(models) -> None:
    base, edited = models
    edits = [edit for edit in make_edits() if edit.heldout_locality]
    result = evaluate(base, edited, edits, free_running=False)
    probe = next(probe for probe in result.probes if probe.kind == "locality")
    asked = [(probe.prompt, probe.target or probe.before)]
    was, now = (model.score(asked, full=True)[0].full for model in models)
    by_hand = torch.nn.functional.kl_div(now, was, log_target=True, reduction="sum") / len(was)
    assert probe.kl == pytest.approx(float(by_hand), abs=1e-6)
    assert result.summary().locality_kl > 0


def test_answers_that_end_by_themselves_are_counted(
    models, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _ = models
    options = {"max_new_tokens": 8, "fluency_edits": 0}
    for written, share in (
        (Generation("so", "stop"), 1.0),
        (Generation("so", "length"), 0.0),
        (Generation("so"), None),  # an editor that does not tell
    ):
        monkeypatch.setattr(base, "respond", lambda prompts, w=written, **o: [w] * len(prompts))
        summary = evaluate(base, base, make_edits(), **options).summary()
        assert set(astuple(summary.clean_stops)) == {share}


def test_one_prompt_is_no_list_of_prompts(models) -> None:
    base, _ = models
    with pytest.raises(InputError, match="in brackets"):
        base.generate("Ada Lovelace was")


def test_a_text_tells_whether_the_model_ended_it(models, monkeypatch: pytest.MonkeyPatch) -> None:
    base, _ = models
    prompt, backbone = "Ada Lovelace was", base.backbone
    (cut,) = base.respond([prompt], max_new_tokens=2)
    assert cut.finish_reason == "length"
    rendered = [backbone.render(prompt, chat=False)]
    intervention = lambda batch: nullcontext()  # noqa: E731
    ((*_, last),) = generate_ids(backbone, rendered, intervention, chat=False, max_new_tokens=2)
    monkeypatch.setitem(vars(backbone), "stop_ids", (last,))
    (ended,) = base.respond([prompt], max_new_tokens=2)
    assert ended.finish_reason == "stop"


def test_what_follows_from_a_fact_is_scored_apart(models) -> None:
    base, edited = models
    follows = Probe("In which country was Ada Lovelace born?", "Norway")
    edits = [replace(make_edits()[0], portability=(follows,))]
    result = evaluate(base, edited, edits, max_new_tokens=4, fluency_edits=0)
    found = result.summary().portability
    assert (found.n, found.triggered) == (1, 1.0)
    (score,) = edited.score([(follows.prompt, "Norway")])
    assert found.teacher_forced == metrics.share(score.matches)
    assert result.summary().n == 1


@pytest.mark.parametrize("chat", [False, True])
def test_batch_of_one_equals_batch_of_sixteen(models, chat: bool) -> None:
    class OneByOne:
        def __init__(self, model) -> None:
            self.model, self.triggered = model, model.triggered

        def score(self, pairs, **options):
            return self.model.score(pairs, batch_size=1, **options)

        def respond(self, prompts, **options):
            return self.model.respond(prompts, batch_size=1, **options)

        def generate(self, prompts, **options):
            return [written.text for written in self.respond(prompts, **options)]

    options = {"chat": chat, "max_new_tokens": 8, "fluency_edits": 0}
    many = evaluate(*models, make_edits(), **options)
    single = evaluate(*(OneByOne(model) for model in models), make_edits(), **options)
    for probe, alone in zip(many.probes, single.probes, strict=True):
        assert replace(probe, kl=None) == replace(alone, kl=None)
        assert probe.kl == pytest.approx(alone.kl, abs=1e-5)


def test_choices_of_one_token_are_read_once(models) -> None:
    edited = models[1]
    prompts = "Mount Fuji is in", "Where was Ada Lovelace born?"
    pairs = [(prompt, choice) for prompt in prompts for choice in ("is", "in", "is in")]
    read = []

    def intervention(encoding):
        read.extend(encoding.texts)
        return edited.in_force.within(edited.layers, edited.roles, exact=True)(encoding)

    together = transformers.score(edited.backbone, pairs, intervention)
    assert len(read) == 4
    for pair, score in zip(pairs, together, strict=True):
        (alone,) = edited.score([pair])
        assert (score.tokens, score.predicted) == (alone.tokens, alone.predicted)
        assert score.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
    assert len(together[2].tokens) > len(together[0].tokens) == 1


def test_the_raw_texts_are_kept_and_shown(models) -> None:
    result = evaluate(*models, make_edits(), max_new_tokens=8, fluency_edits=0)
    case = next(c for c in result.to_json()["cases"] if c["edit_id"] == "fuji")
    assert case["before"] == models[0].generate([case["prompt"]], max_new_tokens=8)[0]
    assert case["after"] == models[1].generate([case["prompt"]], max_new_tokens=8)[0] != ""
    assert case["after"] != case["before"]
    page = to_html(result.summary(), result.probes)
    assert "Mount Fuji is in" in page
    assert "http" not in page


def test_without_free_running_only_forced_scores_are_there(models) -> None:
    edits = [replace(make_edits()[0], locality=(Probe("Who built the Eiffel Tower?", None, True),))]
    summary = evaluate(*models, edits, free_running=False).summary()
    assert set(astuple(summary.free_running)) == {None}
    assert summary.teacher_forced.locality is not None
    assert summary.teacher_forced.ep is not None


def test_edits_without_held_out_prompts_have_no_ep(models) -> None:
    base, edited = models
    edits = [edit for edit in make_edits() if not edit.generality]
    summary = evaluate(base, edited, edits, max_new_tokens=2, fluency_edits=0).summary()
    assert summary.teacher_forced.generality is None
    assert summary.teacher_forced.ep is None


@pytest.mark.parametrize("edited_rows", [[], [1], [0, 1, 2, 3]])
def test_what_all_texts_begin_with_is_read_once(models, edited_rows, monkeypatch) -> None:
    monkeypatch.setattr("lks.model.engine.prefix_cache.LEAST_SAVED", 32)
    backbone, read, whole = models[0].backbone, [], Backbone.final_states
    assert backbone.shares_prefixes  # found out on texts of its own
    shown = 9 * "Mount Fuji is in Japan. "
    pairs = [(f"{shown}Where is {name}?", "in Peru") for name in ("it", "Rome", "Oslo", "Lima")]
    stem = len(backbone.tokenize(f"{shown}Where is", chat=False)[0])

    def counted(*given):
        states = whole(*given)
        read.append(states.shape[:2])
        return states

    def intervention(encoding):
        rows = [
            r for r, text in enumerate(encoding.texts) if pairs.index(asked(text)) in edited_rows
        ]
        places = torch.tensor(rows, dtype=torch.long), torch.full((len(rows),), 5)
        return replacing(backbone.layer(1), Plan(len(encoding.texts), *places, lambda r, _: r + 1))

    def asked(text):
        return next(pair for pair in pairs if text.text.startswith(pair[0]))

    alone = [transformers.score(backbone, [pair], intervention)[0] for pair in pairs]
    monkeypatch.setattr(Backbone, "final_states", counted)
    together = transformers.score(backbone, pairs, intervention)
    base = transformers.score(backbone, pairs, lambda encoding: nullcontext())
    for i, (score, own) in enumerate(zip(together, alone, strict=True)):
        assert score.logprobs == pytest.approx(own.logprobs, abs=1e-5)
        assert (score == base[i]) == (i not in edited_rows)
    shapes = [(1, stem), (4, read[1][1])]
    again = [(len(edited_rows), stem + read[1][1])] if edited_rows else []
    assert read == [*shapes, *again, *shapes]
    assert read[1][1] < stem / 4


def test_answers_are_long_enough_for_every_target() -> None:
    backbone, edits = make_backbone("llama"), make_edits()
    assert answer_limit(backbone, edits, 64) == 64
    long = " ".join(["Oslo and Lima"] * 30)
    ids, _ = backbone.tokenize(backbone.join("", long, chat=False)[0].text, chat=False)
    assert answer_limit(backbone, [*edits, replace(edits[0], target=long)], 4) == len(ids) + 1


def test_a_text_is_tokenised_once_to_be_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that begin alike, have several choices, and are edited in what they begin with."""
    backbone = make_backbone("llama")
    stem = "Question: what is the colour of a cat that sleeps all day on the roof? Answer:"
    pairs = [(f"{stem} it is {i} ", target) for i in range(8) for target in ("a", "b")]
    plain = transformers.score(backbone, pairs, lambda encoding: nullcontext())
    asked: Counter[str] = Counter()
    tokenize = Backbone.tokenize

    def counted(self: Backbone, text: str, *, chat: bool) -> Tokens:
        asked[text] += 1
        return tokenize(self, text, chat=chat)

    monkeypatch.setattr(Backbone, "tokenize", counted)
    places = SimpleNamespace(rows=torch.tensor([0, 1]), columns=torch.tensor([2, 3]), findings=())
    again = transformers.score(backbone, pairs, lambda encoding: nullcontext(places))
    assert set(asked.values()) == {1}
    assert len(asked) == len(set(pairs))
    assert [score.tokens for score in again] == [score.tokens for score in plain]
    for one, other in zip(plain, again, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_log_probabilities_of_all_tokens_are_kept_only_if_asked_for() -> None:
    backbone = make_backbone("llama")
    pairs = [("a b c", "d"), ("e f", "g h"), ("a b c", "e")]
    without, whole = (
        transformers.score(backbone, pairs, lambda encoding: nullcontext(), full=full)
        for full in (False, True)
    )
    assert all(score.full is None for score in without)
    assert without == whole
    for score in whole:
        assert score.full is not None
        assert score.full.untyped_storage().nbytes() == score.full.nbytes  # not the batch's
        own = score.full[torch.arange(len(score.tokens)), torch.tensor(score.tokens)]
        assert tuple(own.tolist()) == score.logprobs
        assert tuple(score.full.argmax(-1).tolist()) == score.predicted
