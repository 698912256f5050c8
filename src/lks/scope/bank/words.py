"""The words of the bank: which ones people ask with, and which language a text is in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import chain

from lks.scope.bank.relations import bank

ENGLISH = "en"
SEVERAL = 2  # wordings' relations, each language counted, of a word that people ask with
# A character of a script without spaces is a word of its own.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]+")


def language_of(text: str) -> str:
    """Code of the language of the bank that has most of a text's words; English where none does."""
    words = _words([text])
    counts = {code: len(words & known.keys()) for code, known in _vocabularies().items()}
    return max(counts, key=lambda code: counts[code])  # English comes first


def people_ask_with(word: str) -> bool:
    """Whether a word, in lower case, stands in wordings of several relations or languages."""
    return sum(known[word] for known in _vocabularies().values()) >= SEVERAL


@cache
def _vocabularies() -> dict[str, Counter[str]]:
    """Language -> word -> relations in whose wordings it stands."""
    found: dict[str, Counter[str]] = {ENGLISH: Counter()}
    for own in bank():
        found[ENGLISH].update(_words(chain(own.wordings, own.follow_up)))
        for code, texts in own.translated.items():
            found.setdefault(code, Counter()).update(_words(texts))
    return found


def _words(texts: Iterable[str]) -> set[str]:
    return set(_WORD.findall(" ".join(texts).lower()))
