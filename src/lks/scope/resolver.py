"""Which of several overlapping mentions counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from lks.scope.normalizer import Words
from lks.scope.types import Mention, _Hit

_T = TypeVar("_T")


def disjoint(mentions: Sequence[Mention]) -> list[Mention]:
    """Of mentions that overlap the longest, of equally long ones that with the higher score."""

    def rank(mention: Mention) -> tuple[int, float, int, str]:
        return mention.start - mention.end, -mention.score, mention.start, mention.subject

    return _first_come(sorted(mentions, key=rank), lambda own: slice(own.start, own.end))


def _holds_more(known: Sequence[Mention], start: int, end: int) -> bool:
    """Whether a stretch overlaps none of these mentions, or those that it does lie in it and are
    shorter; they are disjoint and in order."""
    at = bisect_left(known, end, key=lambda mention: mention.start)
    while at and known[at - 1].end > start:
        at -= 1
        inside = start <= known[at].start and known[at].end <= end
        if not inside or known[at].end - known[at].start == end - start:
            return False
    return True


def _same_place(hit: _Hit, other: _Hit) -> bool:
    same = hit.entity.subject == other.entity.subject
    return same and hit.first < other.last and other.first < hit.last


def _disjoint(hits: Sequence[_Hit], words: Words) -> list[_Hit]:
    """The longest hits first, no word twice; in order of the text."""

    def rank(hit: _Hit) -> tuple[int, int, float]:
        start, end = words.span(hit.first, hit.last)
        return start - end, start, -hit.score

    if len(hits) < 2:
        return list(hits)
    return _first_come(sorted(hits, key=rank), lambda hit: slice(hit.first, hit.last))


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


def _unambiguous(hits: Iterable[_Hit], count: int) -> tuple[list[_Hit], list[_Hit]]:
    """(hits, ambiguous): of misspelt names that overlap, the one with the most support.

    Two entities with equally many edits refuse each other, unless one stretch holds the other.
    """
    owner: list[_Hit | None] = [None] * count
    kept: list[_Hit] = []
    clashing: dict[int, _Hit] = {}
    order = sorted(hits, key=lambda hit: (-hit.support, hit.edits, hit.first, hit.last, hit.key))
    for hit in order:
        rivals = {id(rival): rival for rival in owner[hit.first : hit.last] if rival is not None}
        for rival in rivals.values():
            same = hit.entity.subject == rival.entity.subject
            nested = (
                rival.first <= hit.first
                and hit.last <= rival.last
                and (hit.last - hit.first < rival.last - rival.first)
            )
            if hit.edits == rival.edits and not same and not nested:
                clashing |= {id(rival): rival, id(hit): hit}
        if not rivals:
            owner[hit.first : hit.last] = [hit] * (hit.last - hit.first)
            kept.append(hit)
    return [hit for hit in kept if id(hit) not in clashing], list(clashing.values())
