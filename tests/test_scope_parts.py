"""The parts of a scope: each does what its example says, can be left out, and is told by a pack."""

from __future__ import annotations

import pytest

from lks.edits.edit import Edit
from lks.errors import InputError, PackError
from lks.scope.config import DEFAULT, EXACT, PRESETS, ScopeConfig, preset
from lks.scope.gate.text_vetoes import Stated
from lks.scope.inspect.reasons import SENTENCES
from lks.scope.matcher import Matcher
from lks.scope.normalizer import normalise
from lks.scope.registry import PARTS, RETIRED, described, part_class
from lks.scope.types import Reason

ALL = [(kind, name) for kind, own in PARTS.items() for name in own]


def found(config: ScopeConfig, name: str, text: str) -> list[str]:
    """Surfaces that are taken, or proposed, for an entity of this name."""
    matcher = Matcher([Edit("a", name, f"{name} is", "x")], config)
    doc = normalise(text)
    known, _ = matcher.find(doc)
    proposed = [mention.surface for mention, _ in matcher.proposed(doc, known)]
    return [doc.text[slice(*doc.span(one.first, one.last))] for one in known] + proposed


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_each_part_says_what_it_does(kind: str, name: str) -> None:
    own = part_class(kind, name)
    assert described(kind, name).endswith((".", '."'))
    assert isinstance(own.version, int) and len(own.example) == 2


@pytest.mark.parametrize("name", PARTS["forms"])
def test_a_form_makes_its_example(name: str) -> None:
    own = part_class("forms", name)
    written, other = own.example
    assert other in own().forms(written)
    assert found(EXACT.with_part("forms", name), written, other) == [other]
    assert found(EXACT, written, other) == []


@pytest.mark.parametrize("name", ["misspelt"])
def test_a_generator_finds_its_example(name: str) -> None:
    entity, text = part_class("generators", name).example
    assert len(found(EXACT.with_part("generators", name), entity, text)) == 1
    assert found(EXACT, entity, text) == []


@pytest.mark.parametrize("name", PARTS["proposals"])
def test_a_proposal_is_made_of_its_example(name: str) -> None:
    entity, text = part_class("proposals", name).example
    assert len(found(EXACT.with_part("proposals", name), entity, text)) == 1
    assert found(EXACT, entity, text) == []


@pytest.mark.parametrize("name", PARTS["filters"])
def test_a_filter_refuses_its_example(name: str) -> None:
    entity, text = part_class("filters", name).example
    assert found(EXACT.with_part("filters", name), entity, text) == []
    assert found(EXACT.without(name), entity, text) == [entity]


@pytest.mark.parametrize("name", PARTS["sentence_vetoes"])
def test_a_veto_rules_its_example_out(name: str) -> None:
    prompt, sentence = part_class("sentence_vetoes", name).example
    veto = part_class("sentence_vetoes", name)()
    assert veto.rules_out(sentence, Edit("a", "X", prompt.replace("it", "X", 1), "y"))
    assert not veto.rules_out(prompt, Edit("a", "X", prompt.replace("it", "X", 1), "y"))
    asks_so = Edit("a", "X", sentence.replace("it", "X", 1), "y")
    assert not veto.rules_out(sentence, asks_so)


def test_a_pack_of_before_a_part_loads_without_it() -> None:
    told = DEFAULT.to_json()
    del told["sentence_vetoes"]["contrast"], told["filters"]["edition"]
    config = ScopeConfig.from_json(told, "0.1.0")
    assert config == DEFAULT.without("contrast").without("edition")


def test_presets_are_told_by_name() -> None:
    assert PRESETS.keys() == {"relation", "strict", "entity", "paper"}
    assert preset("relation") is DEFAULT
    with pytest.raises(InputError, match="--scope loose: unknown; one of relation, s"):
        preset("loose")


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_comes_back_from_a_pack(name: str) -> None:
    config = PRESETS[name]
    assert ScopeConfig.from_json(config.to_json(), "0.1.0") == config


def test_parts_that_this_version_has_not_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = DEFAULT.to_json()
    told["filters"]["shorter_name"] = 1
    told["text_vetoes"]["stated"] = 2
    problem = r"shorter_name \(filters\), stated \(version 2\); use lks 9\.9"
    with pytest.raises(PackError, match=problem):
        ScopeConfig.from_json(told, "9.9")
    monkeypatch.setattr(Stated, "version", 2)
    del told["filters"]["shorter_name"]
    assert ScopeConfig.from_json(told, "9.9") == DEFAULT


@pytest.mark.parametrize("version", [1, 2])
def test_what_earlier_packs_have_of_retired_parts_is_left_out(version: int) -> None:
    told = DEFAULT.to_json() | {"other_relations": True}
    told["sentence_vetoes"] |= dict.fromkeys(sorted(RETIRED), version)
    assert ScopeConfig.from_json(told, "0.1.0") == DEFAULT
    told["sentence_vetoes"]["denials"] = 1
    with pytest.raises(PackError, match=r": denials \(sentence_vetoes\); use lks 0\.1\.0"):
        ScopeConfig.from_json(told, "0.1.0")


def test_several_parts_of_ones_own_keep_their_order() -> None:
    own = DEFAULT.with_part("filters", "a:A").with_part("filters", "b:B")
    assert own.filters == (*DEFAULT.filters, "a:A", "b:B")
    assert own.with_part("filters", "a:A") == own


def test_unknown_parts_get_advice() -> None:
    with pytest.raises(
        InputError, match="no part 'mispelt' among the generators; did you mean mis"
    ):
        part_class("generators", "mispelt")
    with pytest.raises(InputError, match="did you mean denial"):
        part_class("sentence_vetoes", "denials")


def test_each_reason_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Reason)
