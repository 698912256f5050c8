"""The bank of wordings, the rules of docs/extend/wordings.md, and what edits borrow of it."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import asdict
from importlib.resources import files
from itertools import chain
from pathlib import Path

import pytest

from lks.edits.edit import SLOT
from lks.model.embedder import CachedEmbedder, Embedder
from lks.scope.bank.relations import REGISTERS, Relation, bank, prompts_of
from lks.scope.bank.words import language_of
from lks.training.templates import nearest_relations

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tools"
PAGE = ROOT / "docs" / "extend" / "wordings.md"
MOST = {"question": 6, "casual": 5, "completion": 4, "instruction": 4, "follow_up": 4, "near": 8}
ALLOWED = {"follow_up": {0}, "near": {0, 1}}  # names of the entity
LEAST = {"question": 4, "casual": 4, "completion": 3, "instruction": 3, "follow_up": 2, "near": 5}


def problems(name: str, row: dict[str, list[str]]) -> list[str]:
    found = []
    for key, most in MOST.items():
        texts = row[key]
        if not LEAST[key] <= len(texts) <= most:
            found.append(f"{name}: {len(texts)} texts of {key}")
        found += [f"{name}: {t}" for t in texts if t.count(SLOT) not in ALLOWED.get(key, {1})]
    own = [text.casefold() for text in chain.from_iterable(row[key] for key in MOST)]
    return found + [f"{name}: twice {text}" for text in {t for t in own if own.count(t) > 1}]


@pytest.fixture(scope="module")
def relations() -> list[Relation]:
    return bank()


@pytest.fixture(scope="module")
def embed() -> CachedEmbedder:
    return CachedEmbedder(Embedder())


def test_every_row_of_every_file_is_read(relations: list[Relation]) -> None:
    kept = [
        file
        for file in (files("lks.scope.bank") / "domains").iterdir()
        if file.name.endswith(".json")
    ]
    rows = [row for file in kept for row in json.loads(file.read_text(encoding="utf-8"))]
    assert len(relations) == len(rows) > 900
    assert {relation.domain for relation in relations} == {
        file.name.removesuffix(".json") for file in kept
    }
    assert len({(r.name, r.kind, r.domain) for r in relations}) == len(relations)


def test_every_translated_wording_belongs_to_a_relation(relations: list[Relation]) -> None:
    known = {(own.domain, f"{own.kind}: {own.name}") for own in relations}
    folder = files("lks.scope.bank") / "languages"
    languages = [file.name.removesuffix(".json") for file in folder.iterdir()]
    assert len(languages) == 10
    for language in languages:
        told = json.loads((folder / f"{language}.json").read_text(encoding="utf-8"))
        rows = {(domain, name): own for domain, of in told.items() for name, own in of.items()}
        assert rows.keys() <= known and len(rows) > 900
        assert all(text.count("{}") == 1 for own in rows.values() for text in own)
        found = [own.translated[language] for own in relations if language in own.translated]
        assert sorted(found) == sorted(rows.values())


def test_the_words_are_those_of_the_bank() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        made = importlib.import_module("bank_words").vocabularies()
    told = json.loads((files("lks.scope.bank") / "words.json").read_text(encoding="utf-8"))
    assert told == {code: " ".join(words) for code, words in made.items()}, "run bank_words.py"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The capital of it is", "en"), ("it ceo", "en"), ("", "en"), ("Zorg", "en"),
        ("Die Hauptstadt von it ist", "de"), ("combien d'habitants it", "fr"),
        ("chi guida it", "it"), ("quem manda na it", "pt"), ("Кто руководит it?", "ru"),
        ("itの首都は", "ja"), ("it的首都是", "zh"), ("it의 수도는", "ko"),
        ("ما هي عاصمة it؟", "ar"),
    ],
)  # fmt: skip
def test_words_tell_the_language(text: str, language: str) -> None:
    assert language_of(text) == language


def test_wordings_take_turns_by_register() -> None:
    asked = {"question": ["q1", "q2"], "completion": ["c1"], "casual": [], "instruction": ["i1"]}
    relation = Relation("a", "b", "c", "d", asked, [], [], {})
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
    (found,) = nearest_relations(embed, [[asked]])
    assert name in found.relation.name
    assert found.wordings(embed.same) == found.relation.wordings


def test_a_prompt_that_no_relation_is_near_borrows_nothing(embed: CachedEmbedder) -> None:
    asked = ["Who runs {}?", "Why did the poet compare {} to a broken violin?"]
    found = nearest_relations(embed, [[text] for text in asked])
    assert [bool(own.wordings(embed.same)) for own in found] == [True, False]
    assert [own.wordings(1.01) for own in found] == [[], []]
    assert nearest_relations(embed, []) == []


def test_each_text_names_the_entity_once_and_stands_once() -> None:
    relations = bank()
    found = [
        problem for own in relations for problem in problems(own.name, {**own.asked, **asdict(own)})
    ]
    assert not found
    assert len({(own.kind, own.name) for own in relations}) == len(relations) > 900


def test_the_page_shows_a_relation_that_keeps_them_and_counts_all() -> None:
    page = PAGE.read_text("utf-8")
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    row = json.loads(shown)
    assert not problems(row["name"], row)
    assert {*row} == {"name", "kind", "value", "follow_up", "near", *REGISTERS}
    assert f"{len(bank())} common relations" in " ".join(page.split())
