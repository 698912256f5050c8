"""Which of several overlapping candidates counts: the longest, and none where two fit alike."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from lks.scope.normalizer import Doc
from lks.scope.types import Candidate, Kind, Mention, Reason

_T = TypeVar("_T")


def resolve(
    doc: Doc, known: Sequence[Candidate], found: Sequence[Candidate]
) -> tuple[list[Candidate], list[Candidate]]:
    """(mentions, refused) of one generator's candidates beside the mentions that are `known`.

    Mentions are disjoint and in order of the text.
    """
    misspelt = [one for one in found if one.kind == Kind.MISSPELT]  # two may fit one place alike
    kept, refused = _unambiguous(misspelt, len(doc.words)) if misspelt else ([], [])
    kept += [one for one in found if one.kind != Kind.MISSPELT]
    return _disjoint([*known, *kept], doc) if kept else list(known), refused


def longest(mentions: Sequence[Mention]) -> list[Mention]:
    """Of mentions that overlap the longest, of equally long ones that with the higher score."""

    def rank(mention: Mention) -> tuple[int, float, int, str]:
        return mention.start - mention.end, -mention.score, mention.start, mention.subject

    return _first_come(sorted(mentions, key=rank), lambda own: slice(own.start, own.end))


def holds_more(known: Sequence[Mention], start: int, end: int) -> bool:
    """Whether a stretch overlaps none of these mentions, or those that it does lie in it and are
    shorter; they are disjoint and in order."""
    at = bisect_left(known, end, key=lambda mention: mention.start)
    while at and known[at - 1].end > start:
        at -= 1
        inside = start <= known[at].start and known[at].end <= end
        if not inside or known[at].end - known[at].start == end - start:
            return False
    return True


def same_place(one: Candidate, other: Candidate) -> bool:
    same = one.entity.subject == other.entity.subject
    return same and one.first < other.last and other.first < one.last


def _disjoint(candidates: Sequence[Candidate], doc: Doc) -> list[Candidate]:
    """The longest first, no word twice; in order of the text."""

    def rank(one: Candidate) -> tuple[int, int, float]:
        start, end = doc.span(one.first, one.last)
        return start - end, start, -one.score

    if len(candidates) < 2:
        return list(candidates)
    return _first_come(sorted(candidates, key=rank), lambda one: slice(one.first, one.last))


def _first_come(ranked: Sequence[_T], place: Callable[[_T], slice]) -> list[_T]:
    """Those that overlap none before them, in the order of their places."""
    taken = bytearray(max((place(one).stop for one in ranked), default=0))
    kept = []
    for one in ranked:
        own = place(one)
        if not any(taken[own]):
            taken[own] = b"\x01" * (own.stop - own.start)
            kept.append(one)
    return sorted(kept, key=lambda one: place(one).start)


def _unambiguous(
    candidates: Iterable[Candidate], count: int
) -> tuple[list[Candidate], list[Candidate]]:
    """(kept, refused): of candidates that overlap, the one with the most support.

    Two entities with equally many edits refuse each other, unless one stretch holds the other.
    """
    owner: list[Candidate | None] = [None] * count
    kept: list[Candidate] = []
    clashing: dict[int, Candidate] = {}
    order = sorted(
        candidates, key=lambda one: (-one.support, one.edits, one.first, one.last, one.key)
    )
    for one in order:
        rivals = {id(rival): rival for rival in owner[one.first : one.last] if rival is not None}
        for rival in rivals.values():
            same = one.entity.subject == rival.entity.subject
            nested = (
                rival.first <= one.first
                and one.last <= rival.last
                and (one.last - one.first < rival.last - rival.first)
            )
            if one.edits == rival.edits and not same and not nested:
                clashing |= {id(rival): rival, id(one): one}
        if not rivals:
            owner[one.first : one.last] = [one] * (one.last - one.first)
            kept.append(one)
    refused = [replace(one, reason=Reason.TWO_FIT) for one in clashing.values()]
    return [one for one in kept if id(one) not in clashing], refused
