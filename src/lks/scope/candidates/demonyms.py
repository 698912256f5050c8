"""Countries by what is said of them: "the French president", of France (package countryinfo)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from countryinfo import CountryInfo

from lks.scope.normalizer import Words, normalise


class Adjectives:
    """Finds the adjectives and peoples of the countries among `patterns`.

    A country that has its adjective with others is the one with the most people. A capital beside
    it makes it the name of something else (Russian Empire).
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns

    @cached_property
    def _names(self) -> dict[str, list[tuple[list[str], int]]]:
        """Words of the adjectives and whose they are, by the first word. Without a relation gate
        nobody asks."""
        found: dict[str, list[tuple[list[str], int]]] = {}
        adjectives = _adjectives()
        for index, pattern in enumerate(self._patterns):
            if pattern in adjectives:
                words = normalise(adjectives[pattern]).words
                found.setdefault(words[0], []).append((words, index))
        return found

    def search(self, words: Words) -> Iterator[tuple[int, int, int]]:
        """(first, last, name): words[first:last] are said of country `name`."""
        for first, word in enumerate(words.words):
            for own, name in self._names.get(word, ()):
                last = first + len(own)
                if words.words[first:last] == own and _stands_alone(words, first, last):
                    yield first, last, name


def _stands_alone(words: Words, first: int, last: int) -> bool:
    """Whether a place, and no word beside it, has a capital; a sentence's first may have one."""
    text, around = words.original, slice(max(first - 1, 0), last + 1)
    capital = [text[start].isupper() for start, _ in words.places[around]]
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
                    found[normalise(name).text] = adjective
    return found
