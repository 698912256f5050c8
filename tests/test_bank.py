"""The bank of wordings, and what edits borrow of it."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files

import pytest

from lks.edits.edit import SLOT
from lks.model.embedder import CachedEmbedder, Embedder
from lks.scope.bank.relations import REGISTERS, Relation, bank, prompts_of
from lks.training.templates import templates_near


@pytest.fixture(scope="module")
def relations() -> list[Relation]:
    return bank()


@pytest.fixture(scope="module")
def embed() -> CachedEmbedder:
    return CachedEmbedder(Embedder())


def test_each_wording_names_the_entity_once_and_stands_once(relations: list[Relation]) -> None:
    for relation in relations:
        counted = Counter(relation.wordings)
        assert max(counted.values()) == 1, (relation.name, counted.most_common(1))
        assert all(text.count(SLOT) == 1 for text in counted), relation.name
        assert all(relation.asked[register] for register in REGISTERS), relation.name


def test_a_follow_up_names_nobody_and_a_near_text_the_entity(relations: list[Relation]) -> None:
    for relation in relations:
        assert relation.follow_up and relation.near, relation.name
        assert not any(SLOT in text for text in relation.follow_up), relation.name
        assert all(text.count(SLOT) == 1 for text in relation.near), relation.name
        assert not {*relation.near} & {*relation.wordings}, relation.name


def test_every_row_of_every_file_is_read(relations: list[Relation]) -> None:
    kept = [file for file in files("lks.scope.bank").iterdir() if file.name.endswith(".json")]
    rows = [row for file in kept for row in json.loads(file.read_text(encoding="utf-8"))]
    assert len(relations) == len(rows) > 900
    assert {relation.domain for relation in relations} == {
        file.name.removesuffix(".json") for file in kept
    }
    assert len({(r.name, r.kind, r.domain) for r in relations}) == len(relations)


def test_wordings_take_turns_by_register() -> None:
    asked = {"question": ["q1", "q2"], "completion": ["c1"], "casual": [], "instruction": ["i1"]}
    relation = Relation("a", "b", "c", "d", asked, [], [])
    assert relation.wordings == ["q1", "c1", "i1", "q2"]
    assert prompts_of([relation, relation]) == [
        (0, "q1"), (0, "q2"), (0, "c1"), (1, "q1"), (1, "q2"), (1, "c1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("The {} was born in the town of", "place of birth"),
        ("The CEO of {} is", "chief executive"),
        ("The capital of {} is", "capital"),
    ],
)
def test_a_prompt_borrows_of_its_relation(
    embed: CachedEmbedder, relations: list[Relation], asked: str, name: str
) -> None:
    ((*lent,),) = templates_near(embed, [asked], embed.same)
    (found,) = [relation for relation in relations if relation.wordings == lent]
    assert name in found.name


def test_a_prompt_that_no_relation_is_near_borrows_nothing(embed: CachedEmbedder) -> None:
    asked = ["Who runs {}?", "Why did the poet compare {} to a broken violin?"]
    assert [bool(own) for own in templates_near(embed, asked, embed.same)] == [True, False]
    assert templates_near(embed, asked, 1.01) == [[], []]
    assert templates_near(embed, [], embed.same) == []
