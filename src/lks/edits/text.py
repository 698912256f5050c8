"""When two texts count as the same."""

from __future__ import annotations

import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation + "’‘“”–—…")


def same_text(text: str) -> str:
    """Key under which two texts count as the same: case and white space folded."""
    return " ".join(text.casefold().split())


def same_wording(text: str) -> str:
    """Key under which two wordings count as the same: punctuation and articles taken out too."""
    return " ".join(_ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split())


def encodable(text: str) -> str:
    """The text, of the same length, with a mark for each half of a character that has none."""
    return text.encode("utf-8", "replace").decode("utf-8")
