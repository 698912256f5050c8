"""The table of names: every folded name of every edit, and who bears it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from lks.edits.edit import Edit
from lks.edits.text import entity_key, same_text
from lks.scope.languages.en import CommonWords, written
from lks.scope.names.variants import Variants
from lks.scope.normalizer import joined_spelling, normalise
from lks.scope.types import Entity

_CLEAR = 8  # letters of a name that is recognised, misspelt, in any case
_AHEAD = 4  # characters before a mention that tell whether it begins a sentence
_BEGINS = re.compile(r"(?:\A|[.!?:\n])[\s\"'“‘«(*]*\Z")
MoreNames = Callable[[Edit], Iterable[str]]  # aliases that the record itself does not hold


class EntityIndex:
    """`patterns[i]` is a folded name, its words parted by one space; `bearers[i]` who bears it.

    Args:
        varied: take in other ways to write the names too.
    """

    def __init__(
        self, edits: Iterable[Edit], common: CommonWords, more: MoreNames, *, varied: bool = False
    ) -> None:
        edits = list(edits)
        self._common = common
        table: dict[str, tuple[Entity, ...]] = {}
        variants = Variants()
        others: dict[str, list[tuple[Edit, str, bool]]] = {}
        for edit in edits:
            for spelling in (edit.subject, *edit.aliases, *more(edit)):
                self._add(table, edit, spelling)
                for other, cased in self._varied(spelling, variants) if varied else ():
                    pattern = " ".join(normalise(other).words)
                    others.setdefault(pattern, []).append((edit, other, cased))
        for pattern, meant in others.items():  # neither a name nor meant by two entities
            if pattern not in table and _of_one(edit for edit, *_ in meant):
                for edit, other, cased in meant:
                    self._enter(table, edit, "variant", other, as_written=cased)
        self.patterns = list(table)
        self.bearers = list(table.values())
        self._in_case = self._told_by_case(edits, more)

    def _add(
        self,
        table: dict[str, tuple[Entity, ...]],
        edit: Edit,
        spelling: str,
        *,
        as_written: bool = False,
    ) -> None:
        kind = "exact" if spelling == edit.subject else "alias"
        self._enter(table, edit, kind, spelling, as_written=as_written)
        joined = joined_spelling(spelling)
        if joined != spelling and joined.casefold() not in self._common:
            self._enter(table, edit, kind, joined, as_written=as_written)

    def _told_by_case(
        self, edits: Iterable[Edit], more: MoreNames
    ) -> dict[str, tuple[Entity, ...]]:
        """Pattern -> who bears it in which case, of entities whose names differ in case only."""
        spellings = defaultdict(set)
        for edit in edits:
            spellings[same_text(edit.subject)].add(entity_key(edit.subject))
        shared = {name for name, found in spellings.items() if len(found) > 1}
        table: dict[str, tuple[Entity, ...]] = {}
        for edit in edits if shared else ():
            for spelling in (edit.subject, *edit.aliases, *more(edit)):
                if same_text(spelling) in shared:
                    self._add(table, edit, spelling, as_written=True)
        return table

    def _varied(self, spelling: str, variants: Variants) -> Iterator[tuple[str, bool]]:
        """(another way to write it, whether that counts in its own case only)."""
        found = variants(spelling)
        own = normalise(spelling).words if found else []
        for other in found:
            words = normalise(other).words
            shorter = len(words) < len(own)
            brief = shorter and self._common.as_written(words)
            if brief and "".join(words) != "".join(own):
                continue  # The Who, asked by Who; but USA is U.S.A.
            usual = shorter and all(map(self._common.english, words))
            yield other, brief or usual or self._common.as_written(own)  # No. 1 is not "no one"

    def _enter(
        self,
        table: dict[str, tuple[Entity, ...]],
        edit: Edit,
        kind: str,
        spelling: str,
        *,
        as_written: bool = False,
    ) -> None:
        words = normalise(spelling).words
        if not words:
            return
        pattern, cased = " ".join(words), None
        if as_written or self._common.as_written(words):
            cased = _written(spelling)
        bearers = table.get(pattern, ())
        for entity in bearers:
            if entity.cased == cased:
                entity.join(edit, kind)
                return
        table[pattern] = (*bearers, Entity(edit.subject, kind, cased, (edit.id,)))

    def entity(self, index: int, text: str, start: int, end: int) -> Entity | None:
        """Who is named where pattern `index` stands in `text`, from `start` to `end`.

        A name in lower case may have a capital where a sentence begins. Of entities whose names
        differ in case only, a text that has the case of none may mean each.
        """
        bearers, anyone = self.bearers[index], None
        if bearers[0].cased is None:
            anyone, bearers = bearers[0], self._in_case.get(self.patterns[index], ())
            if not bearers:
                return anyone
        spellings = [_written(text[start:end])]
        if _BEGINS.search(text, max(0, start - _AHEAD), start):
            spellings.append(spellings[0][:1].lower() + spellings[0][1:])
        found = (b for spelling in spellings for b in bearers if b.cased == spelling)
        return next(found, anyone)

    def small(self, index: int) -> set[str]:
        """Words that a subject, pattern `index`, has in lower case; none of another name."""
        words = normalise(self.bearers[index][0].subject, fold_case=False).words
        own = " ".join(words).lower() == self.patterns[index]
        return {word for word in words if word.islower()} if own else set()

    def as_written(self, name: str) -> bool:
        """Whether `name` matches only in its own case."""
        return self._common.as_written(normalise(name).words)

    def misspelt_bearer(self, index: int, surface: str) -> tuple[Entity, str | None]:
        """(who is meant, reason against it) where `surface` is pattern `index`, misspelt."""
        bearers, capital = self.bearers[index], _capital(_written(surface))
        alike = [b for b in bearers if b.cased is None or _capital(b.cased) == capital]
        if alike:
            return min(alike, key=lambda entity: entity.cased or ""), None
        if len(self.patterns[index]) >= _CLEAR:
            return bearers[0], None
        return bearers[0], "in another case"


def _of_one(edits: Iterable[Edit]) -> bool:
    """Whether edits are about one entity, however each spells its subject."""
    subjects = {edit.subject for edit in edits}  # nearly always one: quick
    return len(subjects) == 1 or len({normalise(subject).text for subject in subjects}) == 1


def _written(text: str) -> str:
    return written(normalise(text, fold_case=False).words)


def _capital(written: str) -> bool:
    return any(map(str.isupper, written))
