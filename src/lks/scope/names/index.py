"""The index of entities: every folded name of every edit, who bears it, and where it stands.

Names as they are written are found by one pass of an Aho-Corasick automaton (package
ahocorasick-rs) over the folded words, however many names there are.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

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


class Spelling(NamedTuple):
    """A way to write a name of an edit; `as_written` counts in its own case only."""

    edit: Edit
    kind: Kind
    text: str
    as_written: bool


class EntityIndex:
    """`patterns[i]` is a folded name, its words parted by one space; `bearers[i]` who bears it.

    Nobody bears some of them: other ways to write a name that another entity has, or may mean too.
    They are there so that edits can be taken out without making the index again.

    Attributes:
        turned: patterns that somebody bore before the last edits were taken out and nobody does
            now, or the other way round.

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
        self.edits, self.common, self._more = list(edits), common, more
        self.turned: Sequence[int] = ()
        self._gone: frozenset[str] = frozenset()
        self._names: dict[str, list[Spelling]] = {}
        self._variants: dict[str, list[Spelling]] = {}
        self._patterns_of: dict[str, set[str]] = {}  # that an edit has a part in
        for edit in self.edits:
            for spelling in (edit.subject, *edit.aliases, *more(edit)):
                self._file(self._names, self._spellings(edit, spelling))
                for other, cased in self._varied(spelling, forms):
                    self._file(self._variants, [Spelling(edit, Kind.VARIANT, other, cased)])
        self.patterns = list(self._names | self._variants)
        self._number = {pattern: number for number, pattern in enumerate(self.patterns)}
        self.bearers = [self._bearing(pattern) for pattern in self.patterns]
        self._in_case = self._told_by_case()

    def without(self, gone: Collection[str]) -> EntityIndex:
        """The index of the other edits, which is as one made anew: only names of those that go are
        looked at again. The numbers of the patterns stay."""
        clone = copy(self)
        clone._gone = self._gone | frozenset(gone)
        clone.edits = [edit for edit in self.edits if edit.id not in gone]
        clone.bearers = list(self.bearers)
        touched = {pattern for edit_id in gone for pattern in self._patterns_of.get(edit_id, ())}
        for pattern in touched:
            clone.bearers[self._number[pattern]] = clone._bearing(pattern)
        numbers = sorted(self._number[pattern] for pattern in touched)
        clone.turned = [n for n in numbers if bool(clone.bearers[n]) != bool(self.bearers[n])]
        if not touched.isdisjoint(self._in_case):
            clone._in_case = clone._told_by_case()
        return clone

    def _bearing(self, pattern: str) -> tuple[Entity, ...]:
        """Who bears a pattern: as a name, else as another way to write one that no other entity
        may mean."""
        meant = self._live(self._names.get(pattern, ()))
        if not meant:
            meant = self._live(self._variants.get(pattern, ()))
            if not _of_one(own.edit for own in meant):
                return ()
        bearers: tuple[Entity, ...] = ()
        for own in meant:
            bearers = self._joined(bearers, own)
        return bearers

    def _live(self, meant: Sequence[Spelling]) -> Sequence[Spelling]:
        return [own for own in meant if own.edit.id not in self._gone] if self._gone else meant

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
            if self.bearers[name]
        ]

    def _spellings(
        self, edit: Edit, spelling: str, *, as_written: bool = False
    ) -> Iterator[Spelling]:
        """A name, and the same in one word."""
        kind = Kind.EXACT if spelling == edit.subject else Kind.ALIAS
        yield Spelling(edit, kind, spelling, as_written)
        joined = joined_spelling(spelling)
        if joined != spelling and joined.casefold() not in self.common:
            yield Spelling(edit, kind, joined, as_written)

    def _file(self, table: dict[str, list[Spelling]], spellings: Iterable[Spelling]) -> None:
        for own in spellings:
            if words := normalise(own.text).words:
                pattern = " ".join(words)
                table.setdefault(pattern, []).append(own)
                self._patterns_of.setdefault(own.edit.id, set()).add(pattern)

    def _told_by_case(self) -> dict[str, tuple[Entity, ...]]:
        """Pattern -> who bears it in which case, of entities whose names differ in case only."""
        spellings = defaultdict(set)
        for edit in self.edits:
            spellings[same_text(edit.subject)].add(entity_key(edit.subject))
        shared = {name for name, found in spellings.items() if len(found) > 1}
        table: dict[str, list[Spelling]] = {}
        for edit in self.edits if shared else ():
            for spelling in (edit.subject, *edit.aliases, *self._more(edit)):
                if same_text(spelling) in shared:
                    self._file(table, self._spellings(edit, spelling, as_written=True))
        found: dict[str, tuple[Entity, ...]] = {}
        for pattern, meant in table.items():
            for own in meant:
                found[pattern] = self._joined(found.get(pattern, ()), own)
        return found

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

    def _joined(self, bearers: tuple[Entity, ...], own: Spelling) -> tuple[Entity, ...]:
        """Those who bear a pattern, with one more spelling of it."""
        cased = None
        if own.as_written or self.common.as_written(normalise(own.text).words):
            cased = spelled(own.text)
        for entity in bearers:
            if entity.cased == cased:
                entity.join(own.edit, own.kind)
                return bearers
        return (*bearers, Entity(own.edit.subject, own.kind, cased, (own.edit.id,)))

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
