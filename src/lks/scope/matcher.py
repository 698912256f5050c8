"""The matcher: which edited entities a text names, and where."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import Protocol, Self, runtime_checkable

from lks.edits.aliases import AliasDictionary
from lks.edits.edit import Edit
from lks.scope.config import DEFAULT, ScopeConfig
from lks.scope.languages.en import CommonWords
from lks.scope.names.derived import more_names
from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import Doc, normalise
from lks.scope.resolver import holds_more, resolve, same_place
from lks.scope.types import Candidate, Mention, Reason


@runtime_checkable
class Explains(Protocol):
    """A generator that can say more of what it refuses."""

    def refused(self, doc: Doc, known: Sequence[Candidate]) -> Iterable[Candidate]: ...


@runtime_checkable
class Shrinks(Protocol):
    """A part that need not be made anew when edits are taken out."""

    def without(self, index: EntityIndex) -> Self: ...


class Matcher:
    """Finds mentions of the subjects and aliases of `edits`, by the parts of a configuration.

    Each generator looks beside what those before it found; the filters turn candidates down, and
    the resolver settles which of those that overlap counts.

    Args:
        aliases: further names of the entities.
        derived: also take a person's initials, and the surname where nobody else bears it.
    """

    def __init__(
        self,
        edits: Iterable[Edit],
        config: ScopeConfig = DEFAULT,
        *,
        aliases: AliasDictionary | None = None,
        derived: bool = False,
    ) -> None:
        edits, common = list(edits), CommonWords()
        more = more_names(edits, common, aliases, derived)
        self._index = EntityIndex(edits, common, config.made("forms"), more)
        self._generators = [part.fit(self._index) for part in config.made("generators")]
        self._proposing = [part.fit(self._index) for part in config.made("proposals")]
        self._filters = [part.fit(self._index) for part in config.made("filters")]

    @property
    def edits(self) -> Sequence[Edit]:
        """Whose names it finds."""
        return self._index.edits

    def without(self, gone: Collection[str]) -> Matcher | None:
        """The matcher of the other edits, at once; None if a part must be made anew."""
        clone, index = copy(self), self._index.without(gone)
        clone._index = index
        for kind in ("_generators", "_proposing", "_filters"):
            parts = getattr(self, kind)
            if not all(isinstance(part, Shrinks) for part in parts):
                return None
            setattr(clone, kind, [part.without(index) for part in parts])
        return clone

    def __call__(self, text: str) -> list[Mention]:
        """The mentions in `text`, in the order in which they stand there."""
        doc = normalise(text)
        return [mention_of(doc, one) for one in self.find(doc)[0]]

    def find(self, doc: Doc) -> tuple[list[Candidate], list[Candidate]]:
        """(mentions, refused) by the names alone."""
        known: list[Candidate] = []
        refused: list[Candidate] = []
        for generator in self._generators:
            kept, turned_down = self._filtered(doc, generator.candidates(doc, known))
            known, doubtful = resolve(doc, known, kept)
            refused += turned_down + doubtful
        return known, refused

    def proposed(self, doc: Doc, known: Sequence[Candidate]) -> list[tuple[Mention, str]]:
        """What may be a name in other words or another case, each with its sentence.

        Most are none: take those only of which the sentence means what an edit does.
        """
        mentions = [mention_of(doc, one) for one in known]
        named = {edit_id for one in known for edit_id in one.entity.edit_ids}
        found: dict[tuple[int, int, str], tuple[Mention, str]] = {}
        for part in self._proposing:
            for one in self._filtered(doc, part.candidates(doc, known))[0]:
                if not holds_more(mentions, *doc.span(one.first, one.told)):
                    continue
                if one.sentence is None or not named.isdisjoint(one.entity.edit_ids):
                    continue
                start, end = doc.span(one.sentence.start, one.sentence.stop)
                mention = mention_of(doc, one)
                key = (mention.start, mention.end, mention.subject)  # aliases may share words
                found[key] = mention, doc.text[start:end]
        return list(found.values())

    def near_misses(self, text: str) -> list[tuple[Mention, Reason]]:
        """Names that `text` seems to write and that were refused, each with the reason."""
        doc = normalise(text)
        known, refused = self.find(doc)
        settled = [*known, *(one for one in refused if one.reason == Reason.LONGER)]
        for part in self._generators:
            if isinstance(part, Explains):
                refused += self._filtered(doc, part.refused(doc, settled))[1]
        misses: dict[tuple[int, int, str], tuple[Mention, Reason]] = {}
        for one in sorted(refused, key=lambda one: (one.first, -one.score, one.key)):
            if one.reason and not any(same_place(one, other) for other in known):
                key = (one.first, one.last, one.entity.subject)  # another form may be nearer
                misses.setdefault(key, (mention_of(doc, one, fired=False), one.reason))
        return list(misses.values())

    def as_written(self, name: str) -> bool:
        """Whether `name`, as a subject or an alias, matches only in the case in which it is."""
        return self._index.as_written(name)

    def _filtered(
        self, doc: Doc, candidates: Iterable[Candidate]
    ) -> tuple[list[Candidate], list[Candidate]]:
        """(kept, refused)."""
        kept, refused = [], []
        for one in candidates:
            reason = one.reason or self._reason(doc, one)
            if reason is None:
                kept.append(one)
            else:
                refused.append(replace(one, reason=reason))
        return kept, refused

    def _reason(self, doc: Doc, one: Candidate) -> Reason | None:
        reasons = (part.reject(doc, one) for part in self._filters)
        return next((reason for reason in reasons if reason), None)


def mention_of(doc: Doc, one: Candidate, *, fired: bool = True) -> Mention:
    start, end = doc.span(one.first, one.last)
    entity = one.entity
    return Mention(
        entity.edit_ids,
        entity.subject,
        doc.text[start:end],
        start,
        end,
        one.kind,
        score=round(one.score, 3),
        fired=fired,
    )
