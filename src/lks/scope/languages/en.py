"""English: word lists (en.json), and which words may well mean what they say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from lks.edits.text import LITTLE

_COMMON = 30_000  # rarer words, beside a known one, are as often a misspelling
_SHORT = 4  # letters of a name that is matched only as it is written


@cache
def _data() -> dict[str, Any]:
    """en.json: read on first use, never changed."""
    text = files(__package__).joinpath("en.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def word_list(name: str) -> list[str]:
    """A list of words, or of texts, of en.json."""
    words: list[str] = _data()[name]
    return words


def word_groups(name: str) -> list[list[str]]:
    """Lists of words of one meaning, of en.json."""
    groups: list[list[str]] = _data()[name]
    return groups


def open_ended_requests(*, plain: bool = False) -> list[str]:
    """Requests for everything about an entity, which is masked; `plain`: the usual ones only.

    The gate's map is fitted on the plain ones: fitted on all, more questions fired.
    """
    return word_list("plain_requests") + ([] if plain else word_list("further_requests"))


@cache
def _ranks() -> dict[str, int]:
    """English words and how rare each is."""
    source = files("symspellpy") / "frequency_dictionary_en_82_765.txt"
    with source.open(encoding="utf-8-sig") as lines:
        return {line.partition(" ")[0]: rank for rank, line in enumerate(lines)}


@cache
def _common() -> frozenset[str]:
    return frozenset(word for word, rank in _ranks().items() if rank < _COMMON)


class CommonWords:
    """English words, inflected forms and frequent names among them (package symspellpy).

    `word in common` says that a word is common; `english` also knows rare words.
    Read on first use, once a process.
    """

    @property
    def words(self) -> frozenset[str]:
        return _common()

    def __contains__(self, word: str) -> bool:
        return word in _common()

    def english(self, word: str) -> bool:
        return word in _ranks()

    def rank(self, word: str) -> int:
        """From -1, of numbers and letters, by how rare a word is; unknown ones come last."""
        return -1 if word.isdigit() or len(word) == 1 else _ranks().get(word, len(_ranks()))

    def as_written(self, name: Sequence[str]) -> bool:
        """Whether a name matches only in its own case: Ali, pink, F/X, The Bakery, 60 Minutes.

        That is a name that is short, or one common word; stopwords and numbers do not count.
        """
        words = [word for word in name if not is_stopword(word)] or name
        short = sum(map(len, words)) <= _SHORT
        return short or (len(words) == 1 and self.english(words[0]))


def written(words: Sequence[str]) -> str:
    """How a name is written: stopwords in any case, for they begin sentences."""
    if len(words) == 1:
        return words[0]
    return " ".join(word.lower() if is_stopword(word) else word for word in words)


def is_stopword(word: str) -> bool:
    """Whether `word` says nothing by itself: an article, a preposition, a number."""
    return word.lower() in LITTLE or word.isdigit()


def content_words(words: Iterable[str]) -> list[str]:
    """The folded words that do not only link others."""
    return [word for word in words if not is_function_word(word)]


def is_function_word(word: str) -> bool:
    """Whether a folded word only links others, so that another may stand for it."""
    return word in LITTLE or word in ("between", "s")  # the "s" of a possessive
