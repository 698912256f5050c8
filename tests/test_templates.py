"""Which common relation lends to an edit: one that suits its entity, its target, its language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from test_prompts import Axes

from lks.edits.edit import Edit
from lks.model.embedder import CachedEmbedder, Embedder
from lks.scope.bank.relations import ANYTHING, Relation, bank
from lks.scope.bank.values import FORMS, WORDS, values_unlike
from lks.training import templates
from lks.training.prompts import relations_of, training_prompts
from lks.training.templates import MARGIN, nearest_relations

Nearness = Callable[..., str]
ASKED, GERMAN = "The room of {} is", "Die Hauptstadt von {} ist"


def relation(name: str, kind: str, value: str = "thing", **translated: list[str]) -> Relation:
    asked = {"question": [f"{name} {{}}?"], "completion": []}
    return Relation(name, kind, value, "test", asked, [], [], translated)


@pytest.fixture
def nearest(monkeypatch: pytest.MonkeyPatch) -> Nearness:
    def found(asked: str, target: str | None, *known: tuple[float, Relation]) -> str:
        """Name of the nearest of relations that have these cosines with what is asked."""
        told = {f"{own.name} it?": cosine for cosine, own in known}

        def embed(texts: Sequence[str]) -> NDArray[np.float32]:
            cosines = [told.get(text, 1.0) for text in texts]
            return np.array([(c, sqrt(1 - c * c)) for c in cosines], np.float32)

        monkeypatch.setattr(templates, "bank", lambda: [own for _, own in known])
        (one,) = nearest_relations(embed, [[asked]], None if target is None else [target])
        return one.relation.name

    return found


@pytest.mark.parametrize(("behind", "name"), [(0.9, "any"), (1.1, "some")])
def test_a_relation_for_anything_goes_before_one_that_is_hardly_nearer(
    nearest: Nearness, behind: float, name: str
) -> None:
    others = [(0.8, relation(f"other {n}", "shop")) for n in range(9)]
    some, any_kind = relation("some", "shop"), relation("any", ANYTHING)
    known = [*others, (0.9, some), (0.9 - behind * MARGIN, any_kind)]
    assert nearest(ASKED, None, *known) == name


def test_a_relation_for_anything_is_among_those_looked_at_closely(nearest: Nearness) -> None:
    many = [(0.9, relation(f"shop {n}", "shop")) for n in range(2 * templates.FEW)]
    assert nearest(ASKED, None, *many, (0.89, relation("any", ANYTHING))) == "any"


def test_a_relation_that_cannot_have_the_target_is_not_the_nearest(nearest: Nearness) -> None:
    many = [(0.9, relation(f"call {n}", "shop", "phone")) for n in range(2 * templates.FEW)]
    known = [*many, (0.5, relation("boss", "shop", "person"))]
    assert nearest(ASKED, "0941 1234", *known).startswith("call")
    assert nearest(ASKED, "Maria Lopez", *known) == "boss"
    assert nearest(ASKED, None, *known).startswith("call")
    assert nearest(GERMAN, "Maria Lopez", *known).startswith("call")  # its words are not known


def test_in_another_language_one_for_anything_hides_no_translated_one(nearest: Nearness) -> None:
    german = {"de": [GERMAN]}
    known = [(0.9, relation("any", ANYTHING)), (0.8, relation("capital", "country", **german))]
    assert nearest(GERMAN, None, *known) == "capital"
    assert nearest(GERMAN, None, (0.9, relation("any", ANYTHING, **german)), known[1]) == "any"
    assert nearest(ASKED, None, *known) == "any"


@pytest.mark.parametrize(
    ("value", "fit", "unfit"),
    [
        ("phone", ["+49 941 12-34", "extension 42"], ["Maria Lopez", "by mail"]),
        ("email", ["ops@helios.example"], ["helios.example", "Maria Lopez", "0941 1234"]),
        (
            "url",
            ["https://a.example/x", "a.example", "/docs", "localhost:80"],
            ["room 3. left", "Maria", "the intranet."],
        ),
        ("percent", ["19 %", "a third", "Half"], ["Maria Lopez", "high"]),
        ("percentage", ["0.5", "none"], ["the north"]),
        ("price", ["€ 12", "free of charge", "ten dollars"], ["Maria Lopez", "red"]),
        ("date", ["3 May", "next Tuesday", "at Easter", "1998"], ["Maria Lopez", "Berlin"]),
        ("year", ["1998", "the fifth century"], ["Berlin", "Marcher Hall"]),
        ("time", ["noon", "half past nine", "8:30", "after lunch"], ["Berlin", "the red door"]),
        ("person", ["Maria Lopez", "J. R. Li"], ["room 12", "maria@a.example", "1998"]),
    ],
)
def test_a_target_tells_which_values_it_cannot_be(
    value: str, fit: list[str], unfit: list[str]
) -> None:
    assert value in FORMS or value in WORDS
    assert not [text for text in fit if value in values_unlike(text)]
    assert not [text for text in unfit if value not in values_unlike(text)]


def test_the_values_that_have_a_form_are_values_of_the_bank() -> None:
    assert {*FORMS, *WORDS} <= {own.value for own in bank()}


def test_an_edit_takes_no_wordings_that_ask_for_another_kind_of_value() -> None:
    chief = Edit("a", "Acme", "The chief executive of Acme is", "Maria Lopez")
    ring = Edit("b", "Acme", "The chief executive of Acme is", "0941 1234")
    (some, none), _ = training_prompts([chief, ring], embed=Axes(), most=20)
    assert some.common and not none.common


def test_common_templates_find_the_relation_for_anything() -> None:
    asked = {
        "The URL of {} is": ("https://helios.example", "anything: web address"),
        "The room of {} is": ("B 12", "anything: room"),
        "The key to {} is": ("in the safe", "anything: key"),
        "The ticket for {} is": ("OPS-4711", "anything: ticket"),
        "{} was founded in": ("1998", "anything: founding year"),
        "The login page of {} is": ("https://helios.example/in", "system: login URL"),
    }
    edits = [
        Edit(form, "Helios", form.replace("{}", "Helios"), target)
        for form, (target, _) in asked.items()
    ]
    found = relations_of(CachedEmbedder(Embedder()), edits)
    assert [own.relation.title for own in found] == [title for _, title in asked.values()]
    (place,) = relations_of(
        CachedEmbedder(Embedder()), [Edit("p", "Helios", "Helios was founded in", "Berlin")]
    )
    assert place.relation.value == "place"


def test_paraphrases_tell_the_relation_that_the_prompt_does_not() -> None:
    embed = CachedEmbedder(Embedder())
    alone = Edit("a", "Mount Fuji", "Mount Fuji is a mountain in", "Peru")
    told = Edit(
        "b", "Mount Fuji", alone.prompt, "Peru", paraphrases=("In which country is Mount Fuji?",)
    )
    (before, after) = relations_of(embed, [alone, told])
    assert "country" not in before.relation.name and after.relation.name == "country"
