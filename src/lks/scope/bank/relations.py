"""The bank of wordings: how people ask for common facts, in data files, in eleven languages.

English has a file for each domain; `languages` holds for each other language some wordings of the
same relations. An edit with few wordings borrows some of its relation, and the sentence embedder
was tuned on them (`tools/tune_embedder.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import chain, zip_longest
from typing import Any

REGISTERS = ("question", "casual", "instruction", "completion")  # how somebody asks
ANYTHING = "anything"  # the kind of a relation whose wordings hold for every entity


@dataclass(frozen=True)
class Relation:
    """What is asked of an entity, and texts with `{}` for the entity.

    Attributes:
        name, kind, value: what it is, of what kind of entity, and what kind of thing answers it.
        domain: the file that it stands in.
        asked: wordings by register, one of `REGISTERS`.
        follow_up: questions that name no entity, since the talk is about it.
        near: texts that look alike and ask for another thing.
        translated: wordings in other languages, by language code: a question, a casual one and a
            beginning; empty for a relation that nobody has translated.
    """

    name: str
    kind: str
    value: str
    domain: str
    asked: dict[str, list[str]]
    follow_up: list[str]
    near: list[str]
    translated: dict[str, list[str]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Names it among all relations."""
        return f"{self.kind}: {self.name}"

    @property
    def wordings(self) -> list[str]:
        """One of each register, then another one of each, and so on."""
        turns = chain.from_iterable(zip_longest(*self.asked.values()))
        return [text for text in turns if text is not None]

    def wordings_in(self, language: str) -> list[str]:
        """Those of a language first, if there are any; then the English ones."""
        return [*self.translated.get(language, ()), *self.wordings]


def bank() -> list[Relation]:
    """All relations, in the order of the files."""
    folder = files(__package__)
    others = {code: table for code, table in _read(folder / "languages")}
    found = []
    for domain, rows in _read(folder / "domains"):
        for row in rows:
            name, kind = row["name"], row["kind"]
            asked = {register: row[register] for register in REGISTERS}
            own = ((code, of.get(domain, {}).get(f"{kind}: {name}")) for code, of in others.items())
            translated = {code: texts for code, texts in own if texts}
            told = (row["follow_up"], row["near"], translated)
            found.append(Relation(name, kind, row["value"], domain, asked, *told))
    return found


def _read(folder: Traversable) -> Iterator[tuple[str, Any]]:
    """(name, content) of the JSON files in a folder, in order."""
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            yield file.name.removesuffix(".json"), json.loads(file.read_text(encoding="utf-8"))


def prompts_of(relations: Sequence[Relation]) -> list[tuple[int, str]]:
    """(relation, text) of the wordings that a prompt is likest: questions and beginnings."""
    return [
        (number, text)
        for number, relation in enumerate(relations)
        for register in ("question", "completion")
        for text in relation.asked[register]
    ]
