"""When two texts count as the same, and how they are written for people."""

from __future__ import annotations

import re
import string

# Words whose case says nothing: they begin sentences and titles.
LITTLE = frozenset(
    ["a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"]
)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_AROUND = ".,;:!?\"'()’‘“”…"  # stands around words, in none
_PUNCTUATION = str.maketrans("", "", string.punctuation + "’‘“”–—…")


def same_text(text: str) -> str:
    """Key under which two texts count as the same: case and white space folded."""
    return " ".join(text.casefold().split())


def entity_key(subject: str) -> str:
    """Key under which two subjects are one entity: as written, for Apple is not apple; only white
    space and the case of little words count as the same."""
    words = subject.split()
    if len(words) > 1:
        words = [word.lower() if word.lower() in LITTLE else word for word in words]
    return " ".join(words)


def same_wording(text: str) -> str:
    """Key under which two wordings count as the same: punctuation and articles taken out too."""
    return " ".join(_ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split())


def holds_words(text: str, part: str) -> bool:
    """Whether the words of a part stand in a text one after the other, whatever their case.

    Only what ends sentences or quotes is no part of a word: C++ is not C.
    """
    whole, inside = (
        " ".join(filter(None, (word.strip(_AROUND) for word in own.casefold().split())))
        for own in (text, part)
    )
    return bool(inside) and f" {inside} " in f" {whole} "


def counted(n: int, one: str, more: str | None = None) -> str:
    """A number with its noun: "1 edit", "2 edits"; `more` where the plural has no s."""
    return f"{n} {one if n == 1 else more or one + 's'}"


def encodable(text: str) -> str:
    """The text, of the same length, with a mark for each half of a character that has none."""
    return text.encode("utf-8", "replace").decode("utf-8")
