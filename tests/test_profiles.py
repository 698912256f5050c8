from __future__ import annotations

from dataclasses import replace

import pytest

from lks.edits import profiles
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError

BORN = Edit("born", "Ada Lovelace", "Ada Lovelace was born in", "Oslo", aliases=("Ada",))
JOB = Edit("job", "Ada Lovelace", "What was the job of Ada Lovelace?", "surgeon",
           paraphrases=("By profession, Ada Lovelace was a",))  # fmt: skip
TOWER = Edit("tower", "Eiffel Tower", "The Eiffel Tower stands in", "Rome")


def ids(edits: list[Edit]) -> list[str]:
    return [edit.id for edit in edits]


def test_a_profile_states_all_facts_of_an_entity() -> None:
    ada, tower = profiles.missing([BORN, TOWER, JOB])
    assert ada.target == "Ada Lovelace was born in Oslo. By profession, Ada Lovelace was a surgeon."
    assert (ada.subject, ada.aliases, ada.profile_of) == (
        "Ada Lovelace", ("Ada",), (BORN.key, JOB.key),
    )  # fmt: skip
    assert all("Ada Lovelace" in text for text in (ada.prompt, *ada.paraphrases))
    assert tower.target == "The Eiffel Tower stands in Rome."


@pytest.mark.parametrize(
    ("edit", "stated"),
    [
        (replace(JOB, statement="She was a surgeon!"), "She was a surgeon!"),
        (replace(JOB, paraphrases=()), "What was the job of Ada Lovelace? surgeon."),
        (replace(BORN, target="the U.S.A."), "Ada Lovelace was born in the U.S.A."),
    ],
)
def test_a_fact_is_stated_in_a_sentence(edit: Edit, stated: str) -> None:
    assert profiles.statement(edit) == stated


def test_a_profile_is_in_force_while_it_states_exactly_the_facts() -> None:
    (one,) = profiles.missing([BORN])
    (two,) = profiles.missing([BORN, one, JOB])
    assert ids(profiles.in_force([BORN, one])) == ["born", one.id]
    everything = [BORN, one, JOB, two]
    assert ids(profiles.in_force(everything)) == ["born", "job", two.id]
    assert ids(profiles.in_force([BORN, one, two])) == ["born", one.id]  # the job was taken back
    assert ids(profiles.in_force([one, two])) == []
    moved = replace(BORN, target="Rome")  # another fact of the same id
    assert ids(profiles.in_force([moved, one])) == ["born"]


def test_only_missing_profiles_are_made() -> None:
    (one,) = profiles.missing([BORN])
    assert profiles.missing([BORN, one]) == []
    assert [p.subject for p in profiles.missing([BORN, one, TOWER])] == ["Eiffel Tower"]
    assert [p.subject for p in profiles.missing([BORN, TOWER], ["eiffel tower"])] == [TOWER.subject]
    with pytest.raises(InputError, match='no edit is about "Rome", "Oslo"'):
        profiles.missing([BORN], ["Rome", "Ada Lovelace", "Oslo"])


def test_entities_that_differ_in_case_have_profiles_of_their_own() -> None:
    firm = Edit("firm", "Apple", "Apple was founded by", "Ada")
    fruit = Edit("fruit", "apple", "An apple is", "red")
    made = profiles.missing([firm, fruit])
    assert [(edit.subject, edit.target) for edit in made] == [
        ("Apple", "Apple was founded by Ada."), ("apple", "An apple is red."),
    ]  # fmt: skip
    assert [edit.subject for edit in profiles.missing([firm, fruit], ["apple"])] == ["apple"]
    assert [e.subject for e in profiles.missing([firm, fruit], ["APPLE"])] == ["Apple", "apple"]


def test_a_profile_of_ones_own_stands_in_the_file() -> None:
    own = Edit.from_record({"subject": "Ada Lovelace", "prompt": "Tell me about {}.",
                            "target": "A poet.", "profile_of": ["born"],
                            "statement": "{} wrote."})  # fmt: skip
    assert own.statement == "Ada Lovelace wrote."
    assert Edit.from_record(own.to_record()) == own
    assert profiles.in_force([BORN, own]) == [BORN, own]
    assert profiles.missing([BORN, own]) == []


def test_profiles_of_one_entity_do_not_contradict_each_other() -> None:
    (one,) = profiles.missing([BORN])
    (two,) = profiles.missing([BORN, JOB])
    assert not EditSet([BORN, one, JOB, two]).conflicts
