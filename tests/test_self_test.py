"""The self-test: what is asked, how it is judged, and what is trained again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_backbone
from numpy.typing import NDArray

from lks.editors.protocol import EditedModel, Retrains
from lks.edits.edit import Edit, Probe
from lks.edits.text import same_wording
from lks.evaluation.self_test import FRAMES, self_test
from lks.model.chat import Prompt, messages
from lks.model.engine.protocol import Generation, Score
from lks.scope.bank.relations import REGISTERS
from lks.scope.types import Finding, Mention
from lks.training import prompts
from lks.training.config import TrainingConfig
from lks.training.prompts import training_prompts
from lks.training.wordings import wordings_of

ACME = Edit("a", "Acme", "The chief executive of Acme is", "Jane Moe")
BOB = Edit("b", "Bob", "Bob was born in", "Oslo")
ODD = Edit("z", "Zorg", "Zorg smells of", "tin", paraphrases=("What does Zorg smell of?",))
BACKBONE = make_backbone("llama", chat=True)
ENTITY = TrainingConfig(scope="entity")


class Axes:
    """An embedder with an axis for each of two relations, one for what smells, one for all else."""

    name, same = "axes", 0.8
    words = ("chief executive of|run|in charge|head", "born", "smell")

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = [[bool(re.search(rf"\b({w})", t)) for w in self.words] for t in texts]
        return np.array([[*own, not any(own)] for own in found], np.float32)

    @property
    def quick(self) -> Axes:
        return self


class Answering(EditedModel):
    """Answers a prompt as a function says: with a text, and the ids of what fires."""

    def __init__(self, answer: Callable[[str], tuple[str, Sequence[str]]]) -> None:
        self.answer, self.asked = answer, dict[str, bool]()

    def score(self, pairs, **options):
        return [Score((1,), (0.0,), (0,)) for _ in pairs]  # it is never sure

    def respond(self, prompts, *, chat=False, **options):
        return [self._written(prompt, chat) for prompt in prompts]

    def triggered(self, prompts, *, chat=False):
        return [bool(self.answer(prompt)[1]) for prompt in prompts]

    def _written(self, prompt: Prompt, chat: bool) -> Generation:
        text = messages(prompt)[-1]["content"]
        self.asked[text] = chat
        written, fired = self.answer(text)
        mention = Mention(tuple(fired), "x", "x", 0, 1, "exact")
        return Generation(written, "stop", [Finding(mention)] if fired else ())


def asked(edits: Sequence[Edit], config: TrainingConfig | None = None, **options):
    """What a model that knows nothing is asked, and what is found."""
    model = Answering(lambda text: ("no idea", ["a", "b", "z"]))
    found = self_test(model, BACKBONE, edits, config, embedder=Axes(), **options)
    return model.asked, found


def test_one_wording_of_each_form_that_training_did_not_see() -> None:
    edits = [ACME, BOB]
    texts, found = asked(edits)
    lent, _ = training_prompts(edits, embed=Axes())
    seen = {same_wording(text) for own in lent for text in (*own.paraphrases, *own.common)}
    assert len(seen) > 10
    for fact, edit in zip(found.facts, edits, strict=True):
        by_form = {one.form: one for one in fact.failed}
        assert list(by_form) == ["prompt", *REGISTERS, "follow-up", "neighbour"]
        assert fact.asks == len(fact.failed) == 8, "two neighbours"
        assert {one.form for one in fact.failed if one.chat} == {"casual", "follow-up"}
        assert by_form["prompt"].wording == edit.prompt
        assert not seen & {same_wording(one.wording) for one in fact.failed}
        assert all(edit.subject in one.wording for one in fact.failed)
    assert {chat for text, chat in texts.items() if "Acme" not in text and "Bob" not in text} == {
        True
    }, "only follow-ups name nobody"


def test_what_asks_like_an_own_wording_is_no_neighbour() -> None:
    """The relation may be another one after all, and then its near texts ask for this very fact."""

    def neighbours(edit: Edit) -> set[str]:
        return {one.wording for one in asked([edit])[1].facts[0].failed if one.form == "neighbour"}

    near = neighbours(BOB)
    same = next(text for text in sorted(near) if not re.search("born", text))
    odd = replace(BOB, paraphrases=(f"So, {same}", "Where does Bob smell?"))
    assert same in near and same not in neighbours(odd)


def test_no_held_out_prompt_is_asked() -> None:
    _, found = asked([BOB])
    told = {one.form: one.wording for one in found.facts[0].failed if one.form != "prompt"}
    held = replace(
        BOB,
        generality=(told["question"], told["casual"]),
        locality=(Probe(told["neighbour"], None, True),),
    )
    for edits, pool in (([held], []), ([BOB], [replace(held, id="held")])):
        again, _ = asked(edits, pool=pool)
        assert not {told["question"], told["casual"], told["neighbour"]} & set(again)
        assert len(again) == 8, "others take their place"


def test_without_a_common_relation_the_own_prompts_are_framed() -> None:
    texts, found = asked([ODD], replace(ENTITY, embedder="nobody loads it"))
    first, second, third, _ = FRAMES
    assert texts == {
        "Zorg smells of": False,
        first.format(ODD.prompt): False,
        second.format(ODD.paraphrases[0]): True,
        third.format(ODD.prompt): False,
        FRAMES[3].format(ODD.paraphrases[0]): False,
        "It smells of": True,
    }
    assert set(found.forms) == {"prompt", "framed", "follow-up"}
    plain, _ = asked([ODD], replace(ENTITY, chat=False))
    assert set(plain.values()) == {False} and len(plain) == 5


def test_how_an_ask_fails() -> None:
    def answer(text: str) -> tuple[str, Sequence[str]]:
        if text == ACME.prompt:
            return " jane\nMOE, of course", ["a"]
        if "sponsor" in text or "Acme" not in text:
            return "no idea", []
        return "John Moe", ["a"]

    found = self_test(Answering(answer), BACKBONE, [ACME], embedder=Axes())
    (fact,) = found.shaky
    how = {one.form: (one.how, one.answer) for one in fact.failed}
    assert "prompt" not in how, "case and white space do not count"
    assert how["question"] == ("another answer", "John Moe")
    assert how["follow-up"] == ("did not fire", "no idea")
    assert how["neighbour"][0] == "fired"
    assert found.forms["prompt"] == 1 and found.forms["question"] == 0
    assert found.tested == {"a": tuple(one.wording for one in fact.failed)}
    right = Answering(lambda text: ("Jane Moe", []))
    assert self_test(right, BACKBONE, [ACME], embedder=Axes()).tested == {"a": ()}


def test_of_many_facts_a_fixed_sample_is_asked_and_profiles_are_not() -> None:
    many = [Edit(f"e{n}", f"Town{n}", f"Town{n} is in", "Peru") for n in range(20)]
    profile = replace(many[0], id="p", prompt="Town0?", profile_of=("e0",))
    samples = []
    for _ in range(2):
        _, found = asked([*many, profile], ENTITY, most=5)
        samples.append([fact.id for fact in found.facts])
        assert found.of == 20 and len(found.facts) == 5 and "p" not in samples[-1]
    assert samples[0] == samples[1]
    assert samples[0] != [fact.id for fact in asked(many, replace(ENTITY, seed=1), most=5)[1].facts]


class Learning(Answering):
    """Facts that some of the wordings are taught of hold in these afterwards; others break."""

    def __init__(self, learns: str) -> None:
        super().__init__(self._said)
        self.learns, self.taught, self.back = learns, dict[str, Edit](), list[str]()

    def _said(self, text: str) -> tuple[str, Sequence[str]]:
        if "smell" in text:
            known = "z" in self.taught and self.learns == "z" and "work" not in text
            return ("tin" if known else "no idea"), ["z"]
        return ("Oslo" if "z" not in self.taught or self.learns == "z" else "no idea"), ["b"]

    def retrain(self, edits: Iterable[Edit]) -> Callable[[Iterable[str]], None]:
        self.taught = {edit.id: edit for edit in edits}
        return self.back.extend


def test_facts_that_fail_are_trained_again_on_what_failed() -> None:
    model, stages = Learning("z"), []
    assert isinstance(model, Retrains)
    found = self_test(model, BACKBONE, [BOB, ODD], ENTITY, on_stage=stages.append)
    assert len(stages) == 2
    (taught,) = model.taught.values()
    assert set(taught.paraphrases) > {*ODD.paraphrases, FRAMES[0].format(ODD.prompt)}
    assert ODD.prompt not in taught.paraphrases
    assert (model.back, found.retrained) == ([], ("z",))
    assert found.tested == {"b": (), "z": (FRAMES[2].format(ODD.prompt),)}


def test_training_again_that_is_no_better_is_taken_back() -> None:
    model = Learning("nothing")
    found = self_test(model, BACKBONE, [BOB, ODD], ENTITY)
    assert (model.back, found.retrained) == (["z"], ())
    untrained = Learning("nothing")
    before = self_test(untrained, BACKBONE, [BOB, ODD], ENTITY, retrain=False)
    assert not untrained.taught
    assert (before.tested, before.forms) == (found.tested, found.forms)


def test_a_neighbour_that_fired_is_taught_as_another_question() -> None:
    model = Learning("nothing")
    model.answer = lambda text: ("Jane Moe", ["a"])
    found = self_test(model, BACKBONE, [ACME], embedder=Axes())
    assert {one.form for one in found.facts[0].failed} == {"neighbour"}
    (taught,) = model.taught.values()
    assert list(taught.training_locality) == [one.wording for one in found.facts[0].failed]


@pytest.mark.parametrize("chat", [False, True])
def test_a_chat_is_asked_only_where_there_are_chats(chat: bool) -> None:
    plain = Answering(lambda text: ("no idea", []))
    self_test(plain, make_backbone("llama", chat=chat), [ACME], embedder=Axes())
    assert any(plain.asked.values()) == chat


def test_an_edit_that_takes_the_place_of_another_keeps_its_held_out_prompts() -> None:
    _, found = asked([BOB], retrain=False)
    told = {one.form: one.wording for one in found.facts[0].failed}
    lent, _ = training_prompts([BOB], embed=Axes())
    new = replace(BOB, generality=(told["question"], lent[0].common[0]))
    model = Learning("nothing")
    model.answer = lambda text: ("no idea", ["b"])
    self_test(model, BACKBONE, [new], pool=[BOB], embedder=Axes())
    assert not {*new.generality} & {*model.asked, *model.taught["b"].paraphrases}


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_what_is_sure_is_not_written(penalty: float) -> None:
    """The likeliest tokens are what a model writes, unless it has rules of its own for writing."""
    backbone = make_backbone("llama")
    backbone.model.generation_config.repetition_penalty = penalty
    model = Answering(lambda text: ("no idea", []))
    model.score = lambda pairs, **options: [Score((1,), (0.0,), (1,)) for _ in pairs]
    found = self_test(model, backbone, [BOB], ENTITY)
    assert (bool(found.shaky), bool(model.asked)) == (penalty != 1, penalty != 1)


def test_common_relations_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    edits, looked, look = [ACME, BOB, ODD], [], prompts.nearest_relations

    def counted(*given: object) -> object:
        looked.append(given)
        return look(*given)

    monkeypatch.setattr(prompts, "nearest_relations", counted)
    texts, found = asked(edits)
    assert len(looked) == 1
    seen, _ = training_prompts(edits, embed=Axes())
    again, same = asked(edits, seen=seen)
    assert len(looked) == 2, "none where training has told what it saw"
    assert (again, same.facts, same.forms) == (texts, found.facts, found.forms)
    wordings_of(edits, Axes())
    assert len(looked) == 3
