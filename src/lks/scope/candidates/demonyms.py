"""Countries by what is said of them: "the French president", of France (package countryinfo)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Self

from countryinfo import CountryInfo

from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import Doc, normalise
from lks.scope.types import LONGEST, Candidate, Kind


class Demonyms:
    """A country by its adjective or its people; the sentence must mean its edit.

    An adjective of several countries is that of the one with the most people. A capital beside it
    makes it the name of something else (Russian Empire).
    """

    version = 1
    example = ("France", "the French president")

    def fit(self, index: EntityIndex) -> Self:
        self._index = index
        return self

    @cached_property
    def _names(self) -> dict[str, list[tuple[list[str], int]]]:
        """Words of the adjectives and whose they are, by the first word. Without a relation gate
        nobody asks."""
        found: dict[str, list[tuple[list[str], int]]] = {}
        adjectives = _adjectives()
        for index, pattern in enumerate(self._index.patterns):
            if pattern in adjectives:
                words = normalise(adjectives[pattern]).words
                found.setdefault(words[0], []).append((words, index))
        return found

    def candidates(self, doc: Doc, known: Sequence[Candidate]) -> Iterator[Candidate]:
        for first, word in enumerate(doc.words):
            for own, name in self._names.get(word, ()):
                last = first + len(own)
                if doc.words[first:last] != own or not _stands_alone(doc, first, last):
                    continue
                sentence = doc.sentence(first)
                in_sentence = last <= sentence.stop and len(sentence) <= LONGEST
                for entity in self._index.bearers[name] if in_sentence else ():
                    yield Candidate(
                        first, last, entity, Kind.REWORDED, told=last, sentence=sentence
                    )


def _stands_alone(doc: Doc, first: int, last: int) -> bool:
    """Whether a place, and no word beside it, has a capital; a sentence's first may have one."""
    text, around = doc.text, slice(max(first - 1, 0), last + 1)
    capital = [text[start].isupper() for start, _ in doc.places[around]]
    before = capital.pop(0) if first else False
    return (
        all(capital[: last - first])
        and not any(capital[last - first :])
        and (not before or first == 1)
    )


def _adjectives() -> dict[str, str]:
    """Adjective of each folded name of a country; codes are no names."""
    countries = sorted(CountryInfo.all().values(), key=lambda own: -(own.get("population") or 0))
    taken: set[str] = set()
    found = {}
    for country in countries:
        adjective = (country.get("demonym") or "").split(",")[0]
        if adjective and adjective not in taken:
            taken.add(adjective)
            for name in (country["name"], *country.get("altSpellings", ())):
                if not name.isupper():
                    found[normalise(name).folded] = adjective
    return found
