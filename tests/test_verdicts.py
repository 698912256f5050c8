"""Questions for yes or no: what the words tell, the gate, and two blocks that all edits share."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from conftest import make_backbone, make_edits

from lks.blocks.bank import Bank
from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.packs.pack import Pack
from lks.scope import languages
from lks.scope.gate.verdicts import asks, plainer, verdict, whole
from lks.scope.types import Verdict
from lks.serving import front
from lks.serving.snapshots import Snapshot
from lks.training import train_pack as training
from lks.training import verdicts
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

YES, NO = Verdict.YES, Verdict.NO
QUICK = TrainingConfig(layer=1, epochs=1, tail_epochs=0)
TOWER = Edit("tower", "Eiffel Tower", "The Eiffel Tower is located in the city of", "Rome")
PRICE = Edit("price", "Kettle 3", "What does Kettle 3 cost?", "$12.50 a month")
DATE = Edit("date", "the Harlow Cup", "When is the Harlow Cup?", "3 to 5 November 2026")
CITY = Edit("city", "Quadra", "Where is Quadra?", "Tartu, Estonia")
PHONE = Edit("phone", "Westport Clinic", "What is the number of Westport Clinic?", "303-555-0142")
LOGIN = Edit("mail", "Nordlicht", "Who answers for Nordlicht?", "help@nordlicht.example")
HOUSE = Edit(
    "house", "Liechtenstein", "What was Liechtenstein named after?", "House of Liechtenstein"
)
VERSION = Edit("version", "Kite 4", "Which Python comes with Kite 4?", "3.13.7")
HEAD = Edit("head", "Zentec", "Who leads Zentec?", "Dr. Maria Lind, chief executive")
DOGS = Edit("dogs", "Larch Hotel", "What is the rule on dogs at the Larch Hotel?", "not allowed")
SKIING = Edit("ski", "Plan Blue", "Under Plan Blue, skiing accidents are", "not covered")
WOOD = Edit("wood", "the Delmar chair", "What is the Delmar chair made of?", "white oak")


@pytest.mark.parametrize(
    "text",
    [
        "Is it in Rome?", "it is in Rome, right?", "Does it belong to Adobe?",
        "Yes or no: it is in Rome",
        "If I open 5482, is that the default port for it?", "Isn't it in Rome?",
        "Can I get one at it for 3 euros?", "it is in Rome, isn't it?", "Was that right?",
        "Dock 4 in Reno, is that where returns for it go?",
    ],
)  # fmt: skip
def test_questions_for_yes_or_no(text: str) -> None:
    assert asks(text)


@pytest.mark.parametrize(
    "text",
    [
        "Where is it?", "it is in", "Can you tell me the price of it?",
        "Is it in Rome or in Paris?",
        "Do you know who leads it?", "price of it?", "Could you check the address of it?",
        "Tell me about it.",
        "Was ist die Hauptstadt von it?",
        "Was kostet it in Berlin pro Monat?",
        "Would you mind telling me the price of it?", "",
    ],
)  # fmt: skip
def test_other_questions(text: str) -> None:
    assert not asks(text)


@pytest.mark.parametrize(
    ("edit", "text", "right"),
    [
        (TOWER, "Is it in Rome?", YES),
        (TOWER, "Is it in Paris?", NO),
        (TOWER, "Is it in the city?", None),  # no value
        (TOWER, "Is it no longer in Paris?", None),  # a denial turns the answer round
        (TOWER, "Where is it?", None),
        (PRICE, "Is it $12.50?", YES),
        (PRICE, "Is it $12.50 a month for 3 people?", NO),
        (PRICE, "Does it cost $12 a month?", NO),  # another price, alike but for the cents
        (DATE, "Is it on 4 November 2026?", None),  # within it
        (DATE, "Is it in May 2027?", None),  # of a range nothing is contradicted
        (HEAD, "Is it led by Mariah Lindt?", None),  # misspelt, perhaps
        (PRICE, "Is it at least $12.50 a month?", None),  # a limit
        (PRICE, "Is it $12.50 a year?", None),  # another unit
        (PRICE, "Is it 12,50 a month?", YES),  # another notation
        (CITY, "Is it in Tartu?", YES),
        (CITY, "Is it in Tallinn, Estonia?", NO),  # one part of two is another
        (CITY, "Is it in Tallinn?", NO),
        (PHONE, "Is it 555-0142?", None),
        (PHONE, "Is it +1 (303) 5550142?", None),
        (LOGIN, "Is it support@nordlicht.example?", NO),
        (DATE, "Is it in November 2026?", None),  # that is not said
        (DATE, "Is it 3 to 5 November 2026?", YES),
        (VERSION, "Is it Python 3.13?", YES),
        (HOUSE, "Was it named after the House of it?", YES),  # the name is a part of the target
        (HEAD, "Is it led by Maria Lind?", YES),  # a title and a part may be left out
        (HEAD, "Is it led by Paul Lind?", NO),
        (SKIING, "Are skiing accidents covered by it?", None),
        (DOGS, "Can I bring a dog to it in May?", None),  # the target says yes or no itself
        (WOOD, "Is it made of white oak?", YES),
        (WOOD, "Is it made of steel?", NO),
    ],
)
def test_the_words_tell_what_is_right(edit: Edit, text: str, right: Verdict | None) -> None:
    assert verdict(edit, [text], text) is right


def test_the_value_may_stand_before_the_question() -> None:
    said = ["I wrote Rome as the place of it.", "Is that right?"]
    assert verdict(TOWER, said, " ".join(said)) is YES
    assert verdict(TOWER, ["Is that where it is?"], "We fly to Rome. Is that where it is?") is YES
    for asked in ("Is this true?", "True or false?"):
        for place, right in (("Rome", YES), ("Paris", NO)):
            said = f"it is located in the city of {place}."
            assert verdict(TOWER, [whole(asked, said)], f"{asked} {said}") is right
    assert whole("How old is it?", "it is old.") == "it is old."
    assert whole("True or false?", "Is it old?") == "Is it old?"
    doubt = ["Where is it?", "Are you sure?"]
    assert verdict(TOWER, doubt, " ".join(doubt)) is None


def test_edits_whose_own_question_is_one_state_their_target() -> None:
    rule = Edit("r", "Larch Hotel", "Are dogs allowed at the Larch Hotel?", "Only on a lead")
    assert verdict(rule, ["Are dogs allowed at it in Rome?"], "x") is None
    profile = replace(TOWER, profile_of=("tower",))
    assert verdict(profile, ["Is it in Rome?"], "Is it in Rome?") is None


def test_a_question_without_its_value() -> None:
    assert plainer("Is the price of it $12.50 a month?") == "Is the price of it a month?"
    assert plainer("Does it belong to the Bank of England?") == "Does it belong to ?"


def test_two_blocks_are_shared_by_all_edits() -> None:
    blocks, shared = torch.randn(3, 1, 4), {YES: torch.ones(1, 4), NO: -torch.ones(1, 4)}
    bank = Bank.of(["a", "b", "c"], blocks, form="residual", scale=[1.0]).judging(shared)
    more = bank.joined(["d"], torch.randn(1, 1, 4)).only(["d", "a"]).without(["d"])
    for one in (bank, more):
        own = one.pooled([(NO,), ("a",), (YES,)])
        assert torch.equal(own, torch.stack([shared[NO], one.of_edits(["a"])[0], shared[YES]]))
    assert torch.equal(bank.pooled([(YES,)]), shared[YES][None])


@pytest.fixture(scope="module")
def judged() -> tuple[Backbone, Pack]:
    """A pack whose two blocks are made up."""
    backbone = make_backbone("llama")
    pack = train_pack(backbone, EditSet([TOWER, make_edits()[1]]), QUICK)
    assert pack.gate is not None and not pack.gate.judges and pack.verdicts is None
    two = torch.stack([torch.full((1, 32), 0.5), torch.full((1, 32), -0.5)])
    return backbone, replace(pack, gate=replace(pack.gate, judges=True), verdicts=two)


ASKED = {
    "Is the Eiffel Tower in Rome?": YES,
    "Is the Eiffel Tower in Paris?": NO,
    "True or false? The Eiffel Tower is located in the city of Oslo.": NO,
}


def test_the_right_block_is_put_in_where_the_name_ends(judged: tuple[Backbone, Pack]) -> None:
    backbone, pack = judged
    model, plain = (
        ScalpelModel(backbone, pack),
        ScalpelModel(backbone, replace(pack, verdicts=None)),
    )
    assert pack.verdicts is not None
    for text, right in ASKED.items():
        (finding,) = model.examine(text)
        assert finding.mention.verdict is right and finding.mention.fired
        assert finding.to_json()["verdict"] == right.value
        rendered = backbone.render(text, chat=False)
        _, offsets = backbone.tokenize(rendered, chat=False)
        (located,) = model.in_force.located([rendered], [offsets], ["user"], exact=True)
        assert [blocks for _, blocks in located.places] == [(right,)]
        assert located.fired == ["tower"] and not located.stated and not located.targets
        (served,) = [front.read(backbone, _snapshot(model), text)]
        assert served.blocks is not None
        assert torch.equal(served.blocks.values[0], pack.verdicts[[YES, NO].index(right)])
    (stated,) = model.examine("Where is the Eiffel Tower?")
    assert stated.mention.verdict is None and stated.mention.fired
    with pytest.raises(KeyError):  # a gate that judges has blocks to put in
        plain.respond([*ASKED], max_new_tokens=1)


def test_texts_read_together_are_judged_as_each_alone(judged: tuple[Backbone, Pack]) -> None:
    """A statement asks for yes or no only where a doubt follows it in its own text."""
    statement = "The Eiffel Tower is located in Oslo."
    texts = [f"{statement} Is that right?", statement]
    scope = ScalpelModel(*judged).in_force.scope
    assert scope.examine(texts) == [scope.examine([text])[0] for text in texts]
    (asked,), (stated,) = scope.examine(texts)
    assert asked.mention.gate != stated.mention.gate


def _snapshot(model: ScalpelModel) -> Snapshot:
    return Snapshot("set", 1, model.in_force, model.pack.layers, True)


def test_a_pack_keeps_them(judged: tuple[Backbone, Pack], tmp_path: Path) -> None:
    backbone, pack = judged
    pack.save(tmp_path / "p")
    read = Pack.load(tmp_path / "p")
    assert read.verdicts is not None and pack.verdicts is not None
    assert torch.equal(read.verdicts, pack.verdicts) and read.gate and read.gate.judges
    model = ScalpelModel(backbone, read)
    model.add(
        [replace(TOWER, id="high", prompt="How high is the Eiffel Tower?", target="7 m")], epochs=1
    )
    model.remove("tower")
    assert model.in_force.bank.verdicts.keys() == {YES, NO}
    (high,) = model.examine("Is the Eiffel Tower 9 m high?")
    assert high.mention.verdict is NO


def test_a_pack_without_them_is_as_ever(judged: tuple[Backbone, Pack], tmp_path: Path) -> None:
    backbone, pack = judged
    assert pack.gate is not None
    old = replace(pack, gate=replace(pack.gate, judges=False), verdicts=None)
    old.save(tmp_path / "old")
    assert not (tmp_path / "old" / "verdicts.safetensors").exists()
    model = ScalpelModel(backbone, Pack.load(tmp_path / "old"))
    assert all(f.mention.verdict is None for text in ASKED for f in model.examine(text))


def test_they_are_learnt_once_for_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LKS_CACHE", str(tmp_path))
    monkeypatch.setattr(training, "verdict_blocks", verdicts.verdict_blocks)
    monkeypatch.setattr(verdicts, "QUESTIONS", 12)
    monkeypatch.setattr(verdicts, "LEARNT", 9.0)
    backbone, config = make_backbone("qwen2", chat=True), QUICK
    pack = train_pack(backbone, EditSet([TOWER]), config)
    assert pack.verdicts is not None and pack.verdicts.shape == (2, 1, 32)
    assert pack.gate is not None and pack.gate.judges
    monkeypatch.setattr(verdicts, "learnt", None)
    again = train_pack(backbone, EditSet(make_edits()[:2]), config)
    assert again.verdicts is not None and torch.equal(again.verdicts, pack.verdicts)
    off = train_pack(backbone, EditSet([TOWER]), replace(config, verdicts=False))
    assert off.verdicts is None and off.gate is not None and not off.gate.judges


def test_what_is_not_learnt_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LKS_CACHE", str(tmp_path))
    monkeypatch.setattr(verdicts, "QUESTIONS", 4)
    monkeypatch.setattr(verdicts, "LEARNT", 0.0)
    backbone, config = make_backbone("llama"), QUICK
    for _ in range(2):  # found out once, and remembered
        assert verdicts.verdict_blocks(backbone, (1,), config) is None
        monkeypatch.setattr(verdicts, "learnt", None)


def test_no_list_of_words_stands_twice() -> None:
    """Of two with one name the last would silently take the place of the other."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    text = files(languages).joinpath("en.json").read_text(encoding="utf-8")
    assert json.loads(text, object_pairs_hook=once)
