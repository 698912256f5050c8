"""A name with another name behind it, which make a third one: Redis Sentinel."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

from lks.edits.edit import Edit
from lks.scope.bank.words import people_ask_with
from lks.scope.languages.en import word_list
from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import Doc
from lks.scope.types import Candidate, Kind, Reason

_NAME = re.compile(r"[A-Z][a-z]\w*")
_WORD = re.compile(r"\w+")
GERMAN = "de"


class WordBehind(ABC):
    """A filter of names that the word behind them makes another one.

    Not where that word stands there in the edit's own wordings.
    """

    def fit(self, index: EntityIndex) -> Self:
        self._told = _told_behind(index.edits)
        return self

    def without(self, index: EntityIndex) -> Self:
        return self

    def reject(self, doc: Doc, candidate: Candidate) -> Reason | None:
        if candidate.kind == Kind.REWORDED or candidate.last >= len(doc.words):
            return None
        start, stop = doc.places[candidate.last]
        word = doc.text[start:stop].lower()
        if any(word in self._told.get(edit_id, ()) for edit_id in candidate.entity.edit_ids):
            return None
        return Reason.LONGER if self.makes_another(doc, candidate) else None

    @abstractmethod
    def makes_another(self, doc: Doc, candidate: Candidate) -> bool:
        """Whether what stands behind a name makes another one."""


class TrailingName(WordBehind):
    """A name with another name behind it, which make a third one: Redis Sentinel.

    Not where the word behind is one that people ask with (Intel Headquarters), a legal form, or one
    that stands there in the edit's own wordings; nor in German or in a title, where capitals tell
    nothing.
    """

    version = 1
    example = ("Redis", "What's the port of Redis Sentinel?")

    def makes_another(self, doc: Doc, candidate: Candidate) -> bool:
        end, (start, stop) = (
            doc.span(candidate.first, candidate.last)[1],
            doc.places[candidate.last],
        )
        if doc.text[end:start] != " " or not _NAME.fullmatch(doc.text[start:stop]):
            return False
        word = doc.text[start:stop].lower()
        if people_ask_with(word) or word in word_list("legal_forms"):
            return False
        return not capitals_tell_nothing(doc, candidate)


def capitals_tell_nothing(doc: Doc, candidate: Candidate) -> bool:
    """Whether the sentence is written as a title, or in German, where all nouns have capitals."""
    if doc.language == GERMAN:
        return True
    sentence = doc.sentence(candidate.first)
    first, stop = sentence.start + 1, sentence.stop
    own, end = max(candidate.first, first), candidate.last + 1  # the name and what stands behind
    capital = doc.capitals[stop] - doc.capitals[first] - (doc.capitals[end] - doc.capitals[own])
    return 2 * capital > stop - first - (end - own)


def _told_behind(edits: Iterable[Edit]) -> dict[str, set[str]]:
    """The words behind an edit's name in its own wordings, and the first of its target: "Is the
    mayor of Paris Anne?"."""
    found: dict[str, set[str]] = {}
    for edit in edits:
        found.setdefault(edit.id, set()).update(_WORD.findall(edit.target.lower())[:1])
        for text in (edit.prompt, *edit.paraphrases):
            for name in edit.names:
                behind = _WORD.findall(text.lower().partition(name.lower())[2])[:1]
                found[edit.id].update(behind)
    return found
