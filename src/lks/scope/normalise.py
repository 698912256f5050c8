"""Unicode normalisation that remembers where every character came from."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_FOLDS = str.maketrans({
    **dict.fromkeys("’‘ʼ‛′", "'"),
    **dict.fromkeys("“”„‟", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
})  # fmt: skip
_NEEDS_SPACE_FOLD = re.compile(r"\s\s|[^\S ]")


@dataclass(frozen=True)
class Normalised:
    """`text` folded for matching; character i stands for `original[starts[i]:ends[i]]`."""

    text: str
    starts: tuple[int, ...] | range
    ends: tuple[int, ...] | range

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Span in the original text of the normalised span [start, end)."""
        return self.starts[start], self.ends[end - 1]


def normalise(text: str, *, fold_case: bool = True) -> Normalised:
    """NFKC, case, typographic quotes and dashes, and white space folded; format characters gone.

    Works on one base character with its combining marks at a time, so that each output
    character maps back to a span of the original.
    """
    if text.isascii() and not _NEEDS_SPACE_FOLD.search(text):
        n = len(text)
        return Normalised(text.lower() if fold_case else text, range(n), range(1, n + 1))
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        piece = unicodedata.normalize("NFKC", text[start:end]).translate(_FOLDS)
        if fold_case:
            piece = piece.casefold()
        for char in piece:
            if char.isspace():
                if out and out[-1] == " ":
                    ends[-1] = end
                    continue
                char = " "
            elif unicodedata.category(char) == "Cf":
                continue
            out.append(char)
            starts.append(start)
            ends.append(end)
    return Normalised("".join(out), tuple(starts), tuple(ends))


def _clusters(text: str) -> list[tuple[int, int]]:
    """Spans of a base character and the marks that NFKC may compose with it."""
    spans: list[tuple[int, int]] = []
    for index, char in enumerate(text):
        joins = unicodedata.combining(char) or "\u1160" <= char <= "\u11ff"  # Hangul vowels, finals
        if joins and spans:
            spans[-1] = (spans[-1][0], index + 1)
        else:
            spans.append((index, index + 1))
    return spans


def spaceless(char: str) -> bool:
    """Whether `char` belongs to a script that writes without spaces between words."""
    return (
        "\u0e00" <= char <= "\u0eff"  # Thai, Lao
        or "\u1000" <= char <= "\u109f"  # Burmese
        or "\u1780" <= char <= "\u17ff"  # Khmer
        or "\u3040" <= char <= "\u30ff"  # Japanese kana
        or "\u3400" <= char <= "\u9fff"  # Chinese characters
        or "\U00020000" <= char <= "\U0003ffff"
    )
