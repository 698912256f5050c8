"""The words of the bank: which ones people ask with, and which language a text is in.

`words.json` holds them; `tools/bank_words.py` makes it from the wordings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

ENGLISH, FILE = "en", "words.json"
# A character of a script without spaces is a word of its own.
_ALONE = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_ALONE}]|[^\W\d_{_ALONE}]+")


def language_of(text: str) -> str:
    """Code of the language of the bank that has most of a text's words; English where none does."""
    words = words_in([text])
    return max(_vocabularies().items(), key=lambda item: len(words & item[1]))[0]  # English first


def is_english(text: str) -> bool:
    """Whether a text is in English, as far as its words and letters tell."""
    return in_latin(text) and language_of(text) == ENGLISH


def in_latin(text: str) -> bool:
    """Whether at least half of a text's letters are Latin."""
    letters = [char for char in text if char.isalpha()]
    latin = sum(char <= "\u024f" or "\u1e00" <= char <= "\u1eff" for char in letters)
    return 2 * latin >= len(letters)


def people_ask_with(word: str) -> bool:
    """Whether a word, in lower case, is one that people ask with, in any language."""
    return any(word in known for known in _vocabularies().values())


def words_in(texts: Iterable[str]) -> set[str]:
    """The words of texts, in lower case."""
    return set(_WORD.findall(" ".join(texts).lower()))


@cache
def _vocabularies() -> dict[str, frozenset[str]]:
    told = json.loads(files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    return {code: frozenset(words.split()) for code, words in told.items()}
