"""The sentences of a text that may ask about an entity: the one that names it, and what follows."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from sentencex import get_sentence_boundaries

MASK = "it"  # stands for the entity, so that only the question is compared
REACH = 32  # sentences looked at for one entity: the first that names it, and the last ones
WINDOW = 400  # characters kept on either side of the mentions in a sentence without an end

_VERB = r"(?:am|is|are|was|were|do|does|did|has|have|had|ca|can|could|will|wo|would|should|must)"
_DENIAL = re.compile(
    rf"\b{MASK}\b.*(?<!\bI )(?<!\bwe )(?<!\byou )"  # whoever speaks may not know
    rf"\b{_VERB}(?: (?:not|never|no longer)|n['\u2019]t|not)\b(?! (?:only|just|merely|simply)\b)"
    rf"(?!.*(?:[,;:?]|\b(?:and|but|or|which|who|that|{_VERB})\b))",  # nothing else follows
    re.IGNORECASE | re.DOTALL,
)
_ARTICLE = re.compile(r"\bthe\s+$", re.IGNORECASE)

Span = tuple[int, int]


def asking(text: str, own: Sequence[Span], others: Sequence[Span] = ()) -> list[str]:
    """Sentences from the first mention on, the entity's mentions masked.

    A later sentence that names only other edited entities is about them and is left out.

    Args:
        own, others: character spans of the entity's mentions and of other entities', in order.
    """
    sentences = _sentences(text, sorted([*own, *others]))
    chosen = [
        (start, end)
        for start, end in sentences
        if end > own[0][0] and (_within(own, start, end) or not _within(others, start, end))
    ]
    if len(chosen) > REACH:
        chosen = [chosen[0], *chosen[1 - REACH :]]
    masked = (_masked(text, start, end, _within(own, start, end)) for start, end in chosen)
    return [sentence for sentence in masked if any(char.isalnum() for char in sentence)]


def denies(sentence: str) -> bool:
    """Whether a masked sentence says of the entity what is not so: "it was not born in"."""
    return len(sentence) <= WINDOW and _DENIAL.search(sentence) is not None


def _sentences(text: str, unbroken: Sequence[Span]) -> list[Span]:
    """Spans of sentences; none ends inside an `unbroken` span."""
    encodable = text.encode("utf-8", "replace").decode("utf-8")  # one character for one surrogate
    ends = [found["end_index"] for found in get_sentence_boundaries("en", encodable)]
    kept = []
    for end in ends:
        before = bisect_left(unbroken, (end, end)) - 1  # the last span that begins before `end`
        if before < 0 or unbroken[before][1] <= end:
            kept.append(end)
    return list(zip([0, *kept[:-1]], kept, strict=True))


def _within(spans: Sequence[Span], start: int, end: int) -> Sequence[Span]:
    """Those of the spans that begin in [start, end)."""
    return spans[bisect_left(spans, (start, start)) : bisect_left(spans, (end, end))]


def _masked(text: str, start: int, end: int, mentions: Sequence[Span]) -> str:
    if mentions:
        start = max(start, mentions[0][0] - WINDOW)
        end = min(end, mentions[-1][1] + WINDOW)
    pieces, at = [], start
    for first, last in mentions:
        pieces += [_ARTICLE.sub("", text[at:first]), MASK]  # "the it" is no English
        at = last
    return "".join([*pieces, text[at:end]]).strip()
