"""The bank of wordings: how people ask for a thousand common facts, in data files.

An edit that brings its prompt alone borrows the wordings of its relation, and the sentence embedder
was tuned on them (`tools/tune_embedder.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain, zip_longest

REGISTERS = ("question", "casual", "instruction", "completion")  # how somebody asks


@dataclass(frozen=True)
class Relation:
    """What is asked of an entity, and texts with `{}` for the entity.

    Attributes:
        name, kind, value: what it is, of what kind of entity, and what kind of thing answers it.
        domain: the file that it stands in.
        asked: wordings by register, one of `REGISTERS`.
        follow_up: questions that name no entity, since the talk is about it.
        near: texts that look alike and ask for another thing.
    """

    name: str
    kind: str
    value: str
    domain: str
    asked: dict[str, list[str]]
    follow_up: list[str]
    near: list[str]

    @property
    def wordings(self) -> list[str]:
        """One of each register, then another one of each, and so on."""
        turns = chain.from_iterable(zip_longest(*self.asked.values()))
        return [text for text in turns if text is not None]


def bank() -> list[Relation]:
    """All relations, in the order of the files."""
    found = []
    for file in sorted(files(__package__).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".json"):
            continue
        for row in json.loads(file.read_text(encoding="utf-8")):
            asked = {register: row[register] for register in REGISTERS}
            own = (row["name"], row["kind"], row["value"], file.name.removesuffix(".json"))
            found.append(Relation(*own, asked, row["follow_up"], row["near"]))
    return found


def prompts_of(relations: Sequence[Relation]) -> list[tuple[int, str]]:
    """(relation, text) of the wordings that a prompt is likest: questions and beginnings."""
    return [
        (number, text)
        for number, relation in enumerate(relations)
        for register in ("question", "completion")
        for text in relation.asked[register]
    ]
