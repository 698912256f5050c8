"""A name that is only a part of a longer one: South Sudan, Rocky II, Windows 10.1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Self

from lks.edits.edit import Edit
from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import Doc
from lks.scope.types import Candidate, Kind, Reason

_AHEAD = 16  # characters looked at on either side
_AFTER = re.compile(
    r",? (?:Jr|Sr|Junior|Senior)\b"
    r"| (?:II|III|IV|V|VI{1,3}|IX|X[IVX]+)\b"
    r"|-(?!(?:CEO|CFO|CTO|COO|Chef)\b)(?=[^\W\d_])[^\Wa-z]\w*"  # Guinea-Bissau, no Toyota-CEO
)
_VERSION = re.compile(r"(?<=\d)\.\d+")  # 3.2.1 is not 3.2
_BEFORE = re.compile(
    r"(?:\b(?:North|South|East|West)(?:ern)?|\bEquatorial|(?<=[^.?!\s]\s)New) $"
    r"|\b[A-Z]\w*-$"
)
_BEFORE_ANY = re.compile(r"\bDemocratic $")  # Republic of the Congo


class LongerName:
    """A name that is only a part of a longer one: South Sudan, Rocky II, Windows 10.1.

    Not where the edit's own wordings have the longer name.
    """

    version = 1
    example = ("Sudan", "the capital of South Sudan")

    def fit(self, index: EntityIndex) -> Self:
        self._told = told_so(index.edits)
        return self

    def without(self, index: EntityIndex) -> Self:
        return self

    def reject(self, doc: Doc, candidate: Candidate) -> Reason | None:
        if candidate.kind == Kind.REWORDED:
            return None
        longer = longer_name(doc.text, *doc.span(candidate.first, candidate.last))
        own = any(longer in self._told.get(e, ()) for e in candidate.entity.edit_ids)
        return Reason.LONGER if longer is not None and not own else None


def longer_name(text: str, start: int, end: int) -> str | None:
    """The longer name in which text[start:end], a name, is only a part; None if there is none.

    What may stand before a name counts for names of one word only: the South Kabul Serena Hotel.
    """
    after, behind = text[end : end + _AHEAD], text[max(start - 1, 0) : end + _AHEAD]
    found = _AFTER.match(after) or _VERSION.match(behind, end - max(start - 1, 0))
    if found:
        return text[start:end] + found[0]
    ahead = text[max(start - _AHEAD, 0) : start]
    one = " " not in text[start:end]
    if found := (one and _BEFORE.search(ahead)) or _BEFORE_ANY.search(ahead):
        return found[0] + text[start:end]
    return None


def may_be_longer(text: str, start: int) -> bool:
    """Whether what stands before a name in another case makes it a part of one: south sudan."""
    return _BEFORE.search(text[max(start - _AHEAD, 0) : start].title()) is not None


def told_so(edits: Iterable[Edit]) -> dict[str, set[str]]:
    """Longer names in which edits themselves have their name, by id: there it is meant."""
    found: dict[str, set[str]] = {}
    for edit in edits:
        for text in (edit.prompt, *edit.paraphrases):
            start = text.find(edit.subject)
            longer = longer_name(text, start, start + len(edit.subject)) if start >= 0 else None
            if longer:
                found.setdefault(edit.id, set()).add(longer)
    return found
