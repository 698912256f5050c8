"""Looking through a model's own text as it grows: where, and how often."""

from __future__ import annotations

import random
import re

import pytest

from lks.editors.lks import rescan as rescanning
from lks.model.chat import Rendered

WORDS = ["the", "Fuji", "is", "high", "born", "in", "a,", "end.", "why?", "Fuji's", "well\n", "x。"]


@pytest.mark.parametrize("seed", range(40))
def test_looking_at_names_and_sentences_is_looking_at_every_word(seed: int) -> None:
    """What fires depends on the last sentence that names the entity, or on a question's end."""
    draw = random.Random(seed)
    more = " ".join(draw.choices(WORDS, k=40))
    looks = []

    def scan(text: Rendered) -> rescanning.Scan:
        looks.append(text.text)
        names = [match.end() for match in re.finditer("Fuji", text.text)]
        behind = re.split(r"[.?。]\s?|\n", text.text[names[-1] :])[0] if names else ""
        asked = "is" in behind.split() or "born in" in behind
        return rescanning.Scan((asked, "why" in text.text), names)

    before = Rendered.plain("What?")
    start = scan(before).fired
    ends = [i for i in range(1, len(more)) if not more[i].isalnum() and more[i - 1].isalnum()]
    grown = (end for end in ends if scan(rescanning._with(before, more[:end])).fired != start)
    expected, every = next(grown, len(more)), len(looks)
    looks.clear()
    assert rescanning._until_change(before, more, scan) == expected
    assert len(looks) <= every + 2


def test_few_looks_where_nothing_is_named() -> None:
    looks = []

    def scan(text: Rendered) -> rescanning.Scan:
        looks.append(text.text)
        return rescanning.Scan((), [])

    more = "It is a large city on a river. It has many bridges, and people like it. " * 4
    assert rescanning._until_change(Rendered.plain("What?"), more, scan) == len(more)
    assert len(looks) == 2 + 8
