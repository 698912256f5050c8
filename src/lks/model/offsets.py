"""From character spans to token positions, and what tokenised texts share. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

Offsets = Sequence[tuple[int, int]]  # character span of each token; (0, 0) for special tokens


def last_token(offsets: Offsets, start: int, end: int) -> int | None:
    """Index of the last token that holds a character of text[start:end], None if there is none.

    Tokens that byte-level tokenizers make of one character share its span: the last one counts.
    """
    for index in range(len(offsets) - 1, -1, -1):
        first, last = offsets[index]
        if max(first, start) < min(last, end):
            return index
    return None


def tokens_from(offsets: Offsets, boundary: int) -> int:
    """Index of the first token that reaches past the character `boundary`."""
    for index, (first, last) in enumerate(offsets):
        if last > boundary and last > first:
            return index
    return len(offsets)


def common_start(texts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The tokens that all texts begin with, if they are several."""
    if len(texts) < 2:
        return ()
    first, last = min(texts), max(texts)  # all others lie between these two
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return tuple(token for token, _ in same)
