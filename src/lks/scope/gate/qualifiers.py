"""Questions for something else of a kind, or for a part of it: the fax number, the spare key.

Embeddings hardly tell these from the phone number and the key. The words are in `qualifiers.json`.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from lks.edits.edit import Edit
from lks.scope.gate.questions import MASK
from lks.scope.languages.en import is_function_word
from lks.scope.normalizer import Doc, normalise
from lks.scope.types import Reason

FILE = "qualifiers.json"
_ASIDE = re.compile(r"[.;!?]\s+(?=.*\w)", re.DOTALL)  # It leaks on a Sunday; what do I call?
_YEAR = re.compile(r"(?:19|20)\d\d")
_PRESENT = re.compile(rf"\b{MASK} (?:is|[a-z]{{3,}}s)\b")  # it costs
_NUMBER = re.compile(r"\d{1,3}[a-z]?")


class Contrast:
    """The question has a word that excludes the edit's: per year for per month, fax for phone, the
    second entrance for the first, Terminal 2 for Terminal 1.

    Not where it has the edit's word as well, or where the edit's own wordings have none.
    """

    version, reason = 1, Reason.CONTRAST
    example = ("The phone number of it is", "What is the fax number of it?")

    def rules_out(self, sentence: str, edit: Edit) -> bool:
        asked = _members([_asking(sentence)])
        if not asked:
            return False
        own = _members(map(normalise, wordings(edit)))
        return any(name in own and own[name].isdisjoint(told) for name, told in asked.items())


class Narrowed:
    """The question narrows what the edit's own wordings name: the spare key, the former CEO, the
    CEO in 2019, for an edit of the key and the CEO.

    Not where these wordings, or the target, have a word of the same sort.
    """

    version, reason = 1, Reason.NARROWED
    example = ("The CEO of it is", "Who was the former CEO of it?")

    def rules_out(self, sentence: str, edit: Edit) -> bool:
        asked = _asking(sentence)
        own = [normalise(text) for text in wordings(edit)]
        told, words = [*own, normalise(edit.target)], _narrowing()
        nouns = {noun for doc in own for noun in _nouns(doc.words) if asked.holds(noun)}
        groups = words.kinds
        if not (_holds([asked], words.now) or _holds(own, words.not_now)):
            groups = [*words.kinds, *words.times]
            present = nouns or any(_PRESENT.search(doc.folded) for doc in own)
            if present and _another_year(asked, told):
                return True
            another_time = nouns and _holds([asked], words.another_time)
            if another_time and not _holds(told, words.another_time):
                return True
        added = [word for group in groups if not _holds(told, group) for word in group]
        return any(asked.holds(f"{word} {noun}") for noun in nouns for word in added)


def wordings(edit: Edit) -> list[str]:
    """The edit's own wordings, with its names masked."""
    texts = [edit.prompt, *edit.paraphrases]
    for name in sorted(edit.names, key=len, reverse=True):
        texts = [text.replace(name, MASK) for text in texts]
    return texts


def _asking(sentence: str) -> Doc:
    """The last part of a sentence."""
    return normalise(_ASIDE.split(sentence)[-1])


def _members(docs: Iterable[Doc]) -> dict[str, set[str]]:
    """The words of contrasts that stand in texts: contrast -> groups.

    Years exclude each other, and so do numbers behind one word.
    """
    phrases, longest = _contrasts()
    found: dict[str, set[str]] = defaultdict(set)
    for doc in docs:
        words, at = doc.words, 0
        while at < len(words):
            for size in range(min(longest, len(words) - at), 0, -1):
                members = phrases.get(" ".join(words[at : at + size]))
                if members is not None:
                    for name, group in members:
                        found[name].add(group)
                    at += size - 1
                    break
            at += 1
        for word, number in pairwise(["", *words]):
            if _YEAR.fullmatch(number):
                found["year"].add(number)
            elif _NUMBER.fullmatch(number) and word.isalpha() and not _links(word):
                found[f"number of {word}"].add(number)
    return found


def _links(word: str) -> bool:
    """Whether a number behind a word is no name: it 2, in 2."""
    return word == MASK or is_function_word(word)


def _nouns(words: Sequence[str]) -> Iterator[str]:
    """What a wording is about: words between an article, or a possessive, and a preposition."""
    told = _narrowing()
    for at, word in enumerate(words):
        owned = words[max(at - 1, 0) : at + 1] == [MASK, "s"]
        if not owned and word not in told.articles:
            continue
        end = at + 1
        while end < len(words) and words[end] not in told.ends:
            end += 1
        if end > at + 1 and (owned or (end < len(words) and words[end] in told.prepositions)):
            yield " ".join(words[at + 1 : end])


def _another_year(asked: Doc, told: Sequence[Doc]) -> bool:
    """Whether a question is about a year of the past or the future, and the edit about none."""
    past = any(map(_YEAR.fullmatch, asked.words)) and _holds([asked], _narrowing().not_now)
    return past and not any(_YEAR.fullmatch(word) for doc in told for word in doc.words)


def _holds(docs: Iterable[Doc], phrases: Iterable[str]) -> bool:
    return any(doc.holds(phrase) for doc in docs for phrase in phrases)


@cache
def _contrasts() -> tuple[Mapping[str, frozenset[tuple[str, str]]], int]:
    """(folded phrase -> contrasts and groups that it belongs to; the most words of a phrase)."""
    data = _data()
    found: dict[str, set[tuple[str, str]]] = {phrase: set() for phrase in _folded(data["nothing"])}
    for name, groups in data["contrasts"].items():
        for group, phrases in groups.items():
            for phrase in _folded(phrases):
                found.setdefault(phrase, set()).add((name, group))
    most = max(phrase.count(" ") + 1 for phrase in found)
    return {phrase: frozenset(own) for phrase, own in found.items()}, most


@dataclass(frozen=True)
class _Narrowing:
    """Folded words that narrow a noun, groups of one sort each, and what they are found by."""

    kinds: list[list[str]]
    times: list[list[str]]  # of edits of the present only
    another_time: list[str]
    now: list[str]
    not_now: list[str]
    articles: frozenset[str]
    prepositions: frozenset[str]
    ends: frozenset[str]


@cache
def _narrowing() -> _Narrowing:
    own = _data()["narrowing"]
    articles, prepositions = _folded(own["articles"]), _folded(own["prepositions"])
    return _Narrowing(
        [_folded(group) for group in own["kinds"].values()],
        [_folded(group) for group in own["times"].values()],
        _folded(own["another time"]),
        _folded(own["now"]),
        _folded(own["not now"]),
        frozenset(articles),
        frozenset(prepositions),
        frozenset([MASK, *articles, *prepositions, *_folded(own["verbs"])]),
    )


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    return data


def _folded(phrases: str) -> list[str]:
    return [normalise(phrase).folded for phrase in phrases.split(",")]
