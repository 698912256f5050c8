"""The index of entities: every folded name of every edit, who bears it, and where it stands.

Names as they are written are found by one pass of an Aho-Corasick automaton (package
ahocorasick-rs) over the folded words, however many names there are.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate

from ahocorasick_rs import AhoCorasick, Implementation

from lks.edits.edit import Edit
from lks.edits.text import entity_key, same_text
from lks.scope.languages.en import CommonWords, written
from lks.scope.names.forms import forms_of
from lks.scope.normalizer import Doc, joined_spelling, normalise
from lks.scope.types import Entity, Kind, NameForm

_AHEAD = 4  # characters before a mention that tell whether it begins a sentence
_BEGINS = re.compile(r"(?:\A|[.!?:\n])[\s\"'“‘«(*]*\Z")
MoreNames = Callable[[Edit], Iterable[str]]  # aliases that the record itself does not hold
Place = tuple[int, int, int]  # first, last, name: words[first:last] are pattern `name`


class EntityIndex:
    """`patterns[i]` is a folded name, its words parted by one space; `bearers[i]` who bears it.

    Args:
        forms: take in other ways to write the names too.
        more: names that the records do not hold.
    """

    def __init__(
        self,
        edits: Iterable[Edit],
        common: CommonWords,
        forms: Sequence[NameForm] = (),
        more: MoreNames = lambda edit: (),
    ) -> None:
        self.edits, self.common = list(edits), common
        table: dict[str, tuple[Entity, ...]] = {}
        others: dict[str, list[tuple[Edit, str, bool]]] = {}
        for edit in self.edits:
            for spelling in (edit.subject, *edit.aliases, *more(edit)):
                self._add(table, edit, spelling)
                for other, cased in self._varied(spelling, forms):
                    pattern = " ".join(normalise(other).words)
                    others.setdefault(pattern, []).append((edit, other, cased))
        for pattern, meant in others.items():  # neither a name nor meant by two entities
            if pattern not in table and _of_one(edit for edit, *_ in meant):
                for edit, other, cased in meant:
                    self._enter(table, edit, Kind.VARIANT, other, as_written=cased)
        self.patterns = list(table)
        self.bearers = list(table.values())
        self._in_case = self._told_by_case(more)

    @cached_property
    def _automaton(self) -> AhoCorasick | None:
        if not self.patterns:
            return None
        return AhoCorasick(
            [f" {pattern} " for pattern in self.patterns],
            implementation=Implementation.ContiguousNFA,
            store_patterns=False,
        )

    def standing(self, doc: Doc) -> list[Place]:
        """Where names stand in a text, in whatever case."""
        if self._automaton is None:
            return []
        found = self._automaton.find_matches_as_indexes(f" {doc.folded} ", overlapping=True)
        begins = [0, *accumulate(len(word) + 1 for word in doc.words)] if found else []
        return [
            (bisect_left(begins, start), bisect_left(begins, end - 1), name)
            for name, start, end in found
        ]

    def _add(
        self,
        table: dict[str, tuple[Entity, ...]],
        edit: Edit,
        spelling: str,
        *,
        as_written: bool = False,
    ) -> None:
        kind = Kind.EXACT if spelling == edit.subject else Kind.ALIAS
        self._enter(table, edit, kind, spelling, as_written=as_written)
        joined = joined_spelling(spelling)
        if joined != spelling and joined.casefold() not in self.common:
            self._enter(table, edit, kind, joined, as_written=as_written)

    def _told_by_case(self, more: MoreNames) -> dict[str, tuple[Entity, ...]]:
        """Pattern -> who bears it in which case, of entities whose names differ in case only."""
        spellings = defaultdict(set)
        for edit in self.edits:
            spellings[same_text(edit.subject)].add(entity_key(edit.subject))
        shared = {name for name, found in spellings.items() if len(found) > 1}
        table: dict[str, tuple[Entity, ...]] = {}
        for edit in self.edits if shared else ():
            for spelling in (edit.subject, *edit.aliases, *more(edit)):
                if same_text(spelling) in shared:
                    self._add(table, edit, spelling, as_written=True)
        return table

    def _varied(self, spelling: str, forms: Sequence[NameForm]) -> Iterator[tuple[str, bool]]:
        """(another way to write it, whether that counts in its own case only)."""
        found = forms_of(spelling, forms)
        own = normalise(spelling).words if found else []
        for other in found:
            words = normalise(other).words
            shorter = len(words) < len(own)
            brief = shorter and self.common.as_written(words)
            if brief and "".join(words) != "".join(own):
                continue  # The Who, asked by Who; but USA is U.S.A.
            usual = shorter and all(map(self.common.english, words))
            yield other, brief or usual or self.common.as_written(own)  # No. 1 is not "no one"

    def _enter(
        self,
        table: dict[str, tuple[Entity, ...]],
        edit: Edit,
        kind: Kind,
        spelling: str,
        *,
        as_written: bool = False,
    ) -> None:
        words = normalise(spelling).words
        if not words:
            return
        pattern, cased = " ".join(words), None
        if as_written or self.common.as_written(words):
            cased = spelled(spelling)
        bearers = table.get(pattern, ())
        for entity in bearers:
            if entity.cased == cased:
                entity.join(edit, kind)
                return
        table[pattern] = (*bearers, Entity(edit.subject, kind, cased, (edit.id,)))

    def entity(self, name: int, doc: Doc, first: int, last: int) -> Entity | None:
        """Who is named where pattern `name` is words[first:last] of a text; None in another case.

        A name in lower case may have a capital where a sentence begins. Of entities whose names
        differ in case only, a text that has the case of none may mean each.
        """
        bearers, anyone = self.bearers[name], None
        if bearers[0].cased is None:
            anyone, bearers = bearers[0], self._in_case.get(self.patterns[name], ())
            if not bearers:
                return anyone
        start, end = doc.span(first, last)
        spellings = [spelled(doc.text[start:end])]
        if _BEGINS.search(doc.text, max(0, start - _AHEAD), start):
            spellings.append(spellings[0][:1].lower() + spellings[0][1:])
        found = (b for spelling in spellings for b in bearers if b.cased == spelling)
        return next(found, anyone)

    def small(self, name: int) -> set[str]:
        """Words that a subject, pattern `name`, has in lower case; none of another name."""
        words = normalise(self.bearers[name][0].subject, fold_case=False).words
        own = " ".join(words).lower() == self.patterns[name]
        return {word for word in words if word.islower()} if own else set()

    def as_written(self, name: str) -> bool:
        """Whether `name` matches only in its own case."""
        return self.common.as_written(normalise(name).words)


def spelled(text: str) -> str:
    """How a name is written, with its capitals."""
    return written(normalise(text, fold_case=False).words)


def _of_one(edits: Iterable[Edit]) -> bool:
    """Whether edits are about one entity, however each spells its subject."""
    subjects = {edit.subject for edit in edits}  # nearly always one: quick
    return len(subjects) == 1 or len({normalise(subject).folded for subject in subjects}) == 1
