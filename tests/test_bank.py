"""The bank of wordings keeps the rules of docs/extend/wordings.md."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from lks.edits.edit import SLOT
from lks.scope.bank.relations import REGISTERS, bank

PAGE = Path(__file__).parent.parent / "docs" / "extend" / "wordings.md"
MOST = {"question": 6, "casual": 5, "completion": 4, "instruction": 4, "follow_up": 4, "near": 8}
LEAST = {"question": 4, "casual": 4, "completion": 4, "instruction": 3, "follow_up": 2, "near": 6}


def problems(name: str, row: dict[str, list[str]]) -> list[str]:
    found = []
    for key, most in MOST.items():
        texts = row[key]
        if not LEAST[key] <= len(texts) <= most:
            found.append(f"{name}: {len(texts)} texts of {key}")
        found += [f"{name}: {t}" for t in texts if t.count(SLOT) != (key != "follow_up")]
    own = [text.casefold() for text in chain.from_iterable(row[key] for key in MOST)]
    return found + [f"{name}: twice {text}" for text in {t for t in own if own.count(t) > 1}]


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
    assert f"{len(bank())} common facts" in " ".join(page.split())
