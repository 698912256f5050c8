"""The sentences of a text that may ask about an entity: the one that names it, and what follows."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from sentencex import get_sentence_boundaries

MASK = "it"  # stands for the entity, so that only the question is compared
REACH = 32  # sentences looked at for one entity: the first that names it, and the last ones
WINDOW = 400  # characters kept on either side of the mentions in a sentence without an end

_VERB = r"(?:am|is|are|was|were|do|does|did|has|have|had|ca|can|could|will|wo|would|should|must)"
_DENIAL = re.compile(
    rf"\b{MASK}\b.*(?<!\bI )(?<!\bwe )(?<!\byou )"  # whoever speaks may not know
    rf"\b{_VERB}(?: (?:not|never|no longer)|n['\u2019]t|not)\b(?! (?:only|just|merely|simply)\b)"
    rf"(?!.*(?:[,;:?]|\b(?:and|but|or|which|who|that|{_VERB})\b))"  # nothing else follows
    rf"|\b{MASK}\b.*(?<!\bor) (?:not|never|no longer)$",  # or the text breaks off there
    re.IGNORECASE | re.DOTALL,
)
_BEGUN = re.compile(r"(?:it|he|she|they|this|that)\b[^.!?]*", re.IGNORECASE)
_ARTICLE = re.compile(r"\bthe\s+$", re.IGNORECASE)

Span = tuple[int, int]


class Sentences:
    """The sentences of a text; none ends inside a mention.

    Args:
        mentions: character spans of all mentions of edited entities, in order.
    """

    def __init__(self, text: str, mentions: Sequence[Span]) -> None:
        self._text, self._ends = text, _ends(text, mentions)
        naming = {self._number(span) for span in mentions}
        self._unnamed = [i for i in range(len(self._ends)) if i not in naming]

    def asking(self, own: Sequence[Span]) -> list[str]:
        """Those from an entity's first mention on, its mentions masked.

        A later sentence that names only other edited entities is about them and is left out.

        Args:
            own: spans of the entity's mentions, in order.
        """
        naming: dict[int, list[Span]] = {}
        for span in own:
            naming.setdefault(self._number(span), []).append(span)
        after = bisect_left(self._unnamed, min(naming))
        later = self._unnamed[max(after, len(self._unnamed) - REACH) :]
        chosen = sorted([*naming, *later])
        if len(chosen) > REACH:
            chosen = [chosen[0], *chosen[1 - REACH :]]
        masked = (self._masked(number, naming.get(number, ())) for number in chosen)
        return [sentence for sentence in masked if any(char.isalnum() for char in sentence)]

    def _number(self, span: Span) -> int:
        """Of the sentence in which a mention begins."""
        return bisect_right(self._ends, span[0])

    def _masked(self, number: int, mentions: Sequence[Span]) -> str:
        start, end = self._ends[number - 1] if number else 0, self._ends[number]
        if mentions:
            start = max(start, mentions[0][0] - WINDOW)
            end = min(end, mentions[-1][1] + WINDOW)
        pieces, at = [], start
        for first, last in mentions:
            pieces += [_ARTICLE.sub("", self._text[at:first]), MASK]  # "the it" is no English
            at = last
        return "".join([*pieces, self._text[at:end]]).strip()


def denies(sentence: str) -> bool:
    """Whether a masked sentence says of the entity what is not so: "it was not born in"."""
    return len(sentence) <= WINDOW and _DENIAL.search(sentence) is not None


def _ends(text: str, unbroken: Sequence[Span]) -> list[int]:
    """Where sentences end; none inside an `unbroken` span, nor between a question and "It is"."""
    encodable = text.encode("utf-8", "replace").decode("utf-8")  # one character for one surrogate
    ends = [found["end_index"] for found in get_sentence_boundaries("en", encodable)]
    kept = []
    for end in ends:
        before = bisect_left(unbroken, (end, end)) - 1  # the last span that begins before `end`
        if before < 0 or unbroken[before][1] <= end:
            kept.append(end)
    if len(kept) > 1 and _begins_answer(text[: kept[-2]], text[kept[-2] :]):
        del kept[-2]
    return kept


def _begins_answer(before: str, last: str) -> bool:
    """Whether a text breaks off in the answer to its question: "Where is it? It is in"."""
    return before.rstrip().endswith("?") and _BEGUN.fullmatch(last.strip()) is not None
