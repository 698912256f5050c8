"""Edits are taken out at once, and what is left is as if it had been made without them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_edits

from lks.blocks.bank import Bank
from lks.blocks.in_force import InForce
from lks.edits import profiles
from lks.edits.edit import Edit
from lks.scope.candidates.exact import Exact
from lks.scope.config import PRESETS
from lks.scope.gate.metric import Array, Exemplars, GateState, Metric
from lks.scope.names.index import EntityIndex
from lks.scope.scope import Scope
from lks.scope.types import Finding, Mention, Reason

WIDTH = 16
Told = tuple[list[Finding], list[tuple[Mention, Reason]], set[str]]
# Names in each other's way: longer ones, other ways to write them, other cases, misspelt ones.
NAMES = (
    ("Eiffel Tower", ()), ("The Eiffel Tower", ()), ("Apple", ()), ("apple", ("Granny Smith",)),
    ("Apple Inc.", ("Apple", "AAPL")), ("World War II", ()), ("World War 2", ()), ("World War", ()),
    ("Saint Denis", ()), ("St. Denis", ("Denis",)), ("Office 365", ("Office365",)),
    ("New York University", ()), ("York University", ()), ("York", ()), ("Redis", ()),
    ("Redis Sentinel", ()), ("return policy", ()), ("returns policy", ()), ("The Who", ("Who",)),
    ("Dr. Ada Lovelace", ("Ada",)), ("Ada Lovelace", ("A. Lovelace",)), ("Houston toad", ()),
    ("Houston toads", ()), ("J. K. Rowling", ()), ("JK Rowling", ()), ("iPhone 15", ()),
    ("Zürich Büro", ()), ("Zuerich Buero", ()), ("Adolf Lovelace", ()), ("Eifel Tower", ()),
)  # fmt: skip
ASKED = ("{} is in", "Where is {}?", "what about the {} now", "{}s and more", "Tell me about {}.")


def embed(texts: Sequence[str]) -> Array:
    """Which words texts share, roughly."""
    vectors = np.zeros((len(texts), WIDTH), np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            vectors[row, sum(map(ord, word)) % WIDTH] += 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def some_edits(chance: random.Random) -> list[Edit]:
    names = chance.sample(NAMES, 14)
    edits = []
    for number, (name, aliases) in enumerate(names):
        for question in chance.sample(ASKED[:2], chance.randint(1, 2)):
            edits.append(
                Edit(
                    f"e{number}-{len(edits)}", name, question.format(name), f"answer {number}",
                    aliases=tuple(aliases), negative=("tomorrow",) if chance.random() < 0.3 else (),
                )
            )  # fmt: skip
    return edits


def in_force(edits: Sequence[Edit], kind: str, blocks: torch.Tensor | None = None) -> InForce:
    config = PRESETS[kind]
    if blocks is None:
        blocks = torch.arange(len(edits) * 4.0).reshape(len(edits), 4)
    bank = Bank.of([e.id for e in edits], blocks, form="residual", scale=1.0)
    gate = None
    if config.gate:
        exemplars = Exemplars.of(embed, [(e.prompt,) for e in edits], [e.negative for e in edits])
        metric = Metric(np.eye(WIDTH, dtype=np.float32), embed(["Tell me about it"]), 0.5, 0.9)
        gate = GateState(metric, exemplars)
    return InForce.of(Scope(edits, config=config), edits, bank, gate, embed)  # type: ignore[arg-type]


def texts(chance: random.Random) -> list[str]:
    found = []
    for name, aliases in NAMES:
        for own in (name, *aliases):
            written = [own, own.lower(), own.upper(), own[:3] + own[4:]]
            found += [form.format(chance.choice(written)) for form in ASKED]
    return [*found, "We love the Eifel Towr tomorrow. our policy for returns", "Nothing here"]


def told(one: InForce, asked: Sequence[str]) -> list[Told]:
    examined = one.scope.examine(asked)
    return [
        (found, one.scope.near_misses(text), one.scope.may_fire([text]))
        for found, text in zip(examined, asked, strict=True)
    ]


@pytest.mark.parametrize("kind", ["relation", "strict", "entity", "paper"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_decides_as_if_made_anew(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    edits = some_edits(chance)
    whole, asked = in_force(edits, kind), texts(chance)
    before = told(whole, asked)
    left, now = list(edits), whole
    for _ in range(3):  # one after the other
        gone = {edit.id for edit in chance.sample(left, chance.randint(1, 4))}
        left = [edit for edit in left if edit.id not in gone]
        now = now.without(gone, None)
        anew = in_force(left, kind, whole.bank.of_edits([edit.id for edit in left]))
        assert list(now.edits.values()) == left
        assert told(now, asked) == told(anew, asked)
        ids = [edit.id for edit in left]
        assert torch.equal(now.bank.of_edits(ids), anew.bank.of_edits(ids))
    assert told(whole, asked) == before  # a snapshot never changes
    fired = [found for found, _, _ in before if any(own.mention.fired for own in found)]
    assert len(fired) > len(asked) / 10


def test_nothing_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = in_force(some_edits(random.Random(1)), "relation")

    def never(*given: object) -> None:
        raise AssertionError("an index was made")

    monkeypatch.setattr(EntityIndex, "__init__", never)
    assert len(whole.without({next(iter(whole.edits))}, None).edits) == len(whole.edits) - 1


def test_more_comes_behind_what_was_taken_out() -> None:
    """The next edit makes room: blocks and references are again as if nothing had been there."""
    edits = list(make_edits())
    whole = in_force(edits, "relation")
    new = replace(edits[0], id="new", prompt="The Eiffel Tower was built in")
    exemplars = Exemplars.of(embed, [(new.prompt,)], [()])
    given = (torch.full((1, 4), 9.0), exemplars, embed)
    from lks.edits.edit_set import EditSet

    now = whole.without({"ada-born"}, None).joined(EditSet([new]), *given)  # type: ignore[arg-type]
    anew = whole.only([e for e in edits if e.id != "ada-born"], embed).joined(  # type: ignore[arg-type]
        EditSet([new]), *given
    )
    assert torch.equal(now.bank.blocks.all, anew.bank.blocks.all)
    assert now.bank.rows == anew.bank.rows
    assert now.gate is not None and anew.gate is not None
    for name in ("vectors", "edit", "vector", "negative"):
        one, other = (getattr(each.gate.exemplars, name) for each in (now, anew))
        assert np.array_equal(one, other)


def test_a_profile_rests_and_comes_back() -> None:
    """With profiles all is made anew: one that rested states the facts that are left."""
    edits = list(make_edits())
    (profile,) = profiles.missing([edits[1]], ["Ada Lovelace"])
    now = in_force([*edits, profile], "relation")
    assert profile.id not in now.scope.may_fire(["Ada Lovelace"])  # there are two facts
    now = now.without({"ada-tongue"}, embed)  # type: ignore[arg-type]
    assert profile.id in now.scope.may_fire(["Ada Lovelace"])


class OwnExact(Exact):
    """A part of one's own that knows nothing of edits that go."""

    without = None  # type: ignore[assignment]


def test_a_part_of_ones_own_is_made_anew() -> None:
    config = replace(PRESETS["entity"], generators=(f"{__name__}:OwnExact",), filters=())
    edits = list(make_edits())
    bank = Bank.of([e.id for e in edits], torch.zeros(4, 4), form="residual", scale=1.0)
    whole = InForce.of(Scope(edits, config=config), edits, bank, None, None)
    assert whole.scope.without({"fuji"}) is None
    left = whole.without({"fuji"}, None)
    assert left.scope.fired(["Mount Fuji is in", "Where is the Eiffel Tower?"])[0] == []
    assert left.scope.fired(["Where is the Eiffel Tower?"])[0]
