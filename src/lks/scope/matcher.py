"""The matcher: which edited entities a text names, and where.

Names as they are written are found by one pass of an Aho-Corasick automaton (package
ahocorasick-rs) over the folded words, however many names there are; misspelt ones by an index.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, TypeVar

from ahocorasick_rs import AhoCorasick, Implementation

from lks.edits import Edit
from lks.scope.aliases import AliasDictionary, more_names
from lks.scope.countries import Adjectives
from lks.scope.fuzzy import FuzzyIndex
from lks.scope.longer import LONGER, longer_name, may_be_longer, told_so
from lks.scope.misspelling import TWO_FIT
from lks.scope.names import Bearer, NameTable
from lks.scope.normalise import Words, normalise
from lks.scope.reordered import SCORE, ReorderedIndex
from lks.scope.reworded import Proposal, RewordedIndex, sentences
from lks.scope.vocabulary import CommonWords

_T = TypeVar("_T")
# Behind these a word in another case is a common one: the ring, our shell company.
_DETERMINERS = {"a", "an", "the", "my", "our", "your", "his", "her", "their", "this", "that"}
_DETERMINERS |= {"these", "those", "new", "every", "each", "some", "any", "no"}
_Place = tuple[int, int, int]  # first, last, name: words[first:last] are pattern `name`


@dataclass(frozen=True)
class Mention:
    """A place where a text names an edited entity.

    `start` and `end` are characters of the original text, `surface` is what stands there.
    `edit_ids` are the edits of that entity, in the order of the edit set. `score` is 1 for a name
    as it is known, less for a misspelt or reordered one. `gate` is the score of the relation gate,
    None where the scope has none.
    """

    edit_ids: tuple[str, ...]
    subject: str
    surface: str
    start: int
    end: int
    kind: str  # exact | alias | variant | reordered | fuzzy | reworded
    score: float = 1.0
    gate: float | None = None
    fired: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"edit_ids": list(self.edit_ids)}


@dataclass(frozen=True, slots=True)
class _Hit:
    """words[first:last] of a text name `bearer`."""

    first: int
    last: int
    bearer: Bearer
    kind: str
    score: float = 1.0
    edits: int = 0
    support: int = 0  # letters in its favour: those of the name, less two for each edit

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """Settles ties, whatever the order of the edits."""
        return self.bearer.subject, tuple(sorted(self.bearer.edit_ids))


class Matcher:
    """Finds mentions of the subjects and aliases of `edits`.

    Names match on whole words, whatever their diacritics, hyphens and apostrophes, and in any
    case; names of one word that is short or common match only as they are written. Where
    mentions overlap, the longest wins; of two equally long the first.

    Args:
        fuzzy: find names that are misspelt, transliterated, reordered or written otherwise too.
        aliases: further names of the entities.
        derived: also take a person's initials, and the surname where nobody else bears it.
        common: the list of words to go by, if it is read already.
    """

    def __init__(
        self,
        edits: Iterable[Edit],
        *,
        fuzzy: bool = True,
        aliases: AliasDictionary | None = None,
        derived: bool = False,
        common: CommonWords | None = None,
    ) -> None:
        edits, common = list(edits), common or CommonWords()
        self._common, more = common, more_names(edits, common, aliases, derived)
        self._table, self._told = NameTable(edits, common, more, varied=fuzzy), told_so(edits)
        patterns = self._table.patterns
        self._automaton = (
            AhoCorasick(
                [f" {pattern} " for pattern in patterns],
                implementation=Implementation.ContiguousNFA,
                store_patterns=False,
            )
            if patterns
            else None
        )
        fuzzy = fuzzy and bool(patterns)
        self._fuzzy = FuzzyIndex(patterns, common) if fuzzy else None
        self._reordered = ReorderedIndex(patterns, common) if fuzzy else None
        self._adjectives = Adjectives(patterns if fuzzy else ())
        self._reworded = RewordedIndex(patterns, common, self._table.small) if fuzzy else None

    def __call__(self, text: str) -> list[Mention]:
        """The mentions in `text`, in the order in which they stand there."""
        words = normalise(text)
        return self._mentions(text, words, self._standing(words))

    def with_reworded(self, text: str) -> tuple[list[Mention], list[tuple[Mention, str]]]:
        """As a call, and beside these what may be a name in other words, each with its sentence.

        Most are not: take those only of which the sentence means what an edit does.
        """
        words = normalise(text)
        standing = self._standing(words)
        known = self._mentions(text, words, standing)
        named = {edit_id for own in known for edit_id in own.edit_ids}
        found: dict[tuple[int, int, str], tuple[Mention, str]] = {}
        for place in self._proposed(text, words, standing):
            if not _holds_more(known, *words.span(place.first, place.told)):
                continue
            sentence = words.span(place.sentence.start, place.sentence.stop)
            for bearer in self._table.bearers[place.name]:
                mention = _mention(text, words, _Hit(place.first, place.last, bearer, "reworded"))
                if named.isdisjoint(bearer.edit_ids):
                    key = (mention.start, mention.end, mention.subject)  # aliases may share words
                    found[key] = mention, text[slice(*sentence)]
        return known, list(found.values())

    def _proposed(self, text: str, words: Words, standing: list[_Place]) -> Iterator[Proposal]:
        """Places of what may be names in other words, or in another case than they must be."""
        if self._reworded is None:
            return
        yield from self._reworded.search(words)
        places = [
            (first, last, name)
            for first, last, name in standing
            if not self._table.bearer(name, text, *words.span(first, last))
            and self._reworded.tells(name)
            and not self._is_noun(words.words, first, last)
            and not may_be_longer(text, words.span(first, last)[0])
        ]
        places = sorted([*places, *self._adjectives.search(words)])
        for sentence in sentences(words) if places else ():
            begin, end = (bisect_left(places, (at,)) for at in (sentence.start, sentence.stop))
            for first, last, name in places[begin:end]:
                if last <= sentence.stop:
                    yield Proposal(first, last, last, name, sentence)

    def _is_noun(self, words: Sequence[str], first: int, last: int) -> bool:
        """Whether a name in another case is but an English word there: the ring."""
        behind = first > 0 and words[first - 1] in _DETERMINERS
        return behind and all(map(self._common.english, words[first:last]))

    def _mentions(self, text: str, words: Words, standing: list[_Place]) -> list[Mention]:
        hits = self._exact(text, words, standing)
        if self._fuzzy is not None:
            hits = self._other_order(text, words, hits)
            hits = _disjoint(hits + self._misspelt(text, words, hits)[0], words)
        return [_mention(text, words, hit) for hit in hits]

    def as_written(self, name: str) -> bool:
        """Whether `name`, as a subject or an alias, matches only in the case in which it is."""
        return self._table.as_written(name)

    def near_misses(self, text: str) -> list[tuple[Mention, str]]:
        """Names that `text` seems to misspell and that were refused, each with a plain reason."""
        words = normalise(text)
        standing = self._standing(words)
        known = self._other_order(text, words, self._exact(text, words, standing))
        parts = [hit for hit, part in self._known(text, words, standing) if part]
        _, refused = self._misspelt(text, words, [*known, *parts], wide=True)
        refused += [(hit, LONGER) for hit in parts]
        misses = [
            (_mention(text, words, hit, fired=False), reason)
            for hit, reason in refused
            if not any(_same_place(hit, other) for other in known)
        ]
        return sorted(misses, key=lambda miss: (miss[0].start, -miss[0].score))

    def _exact(self, text: str, words: Words, standing: list[_Place]) -> list[_Hit]:
        """The names that stand in the text as they are known, disjoint, in order."""
        hits = [hit for hit, part in self._known(text, words, standing) if not part]
        return _disjoint(hits, words)

    def _known(
        self, text: str, words: Words, standing: list[_Place]
    ) -> Iterator[tuple[_Hit, bool]]:
        """The names among these, and whether each is only a part of a longer one."""
        for first, last, name in standing:
            span = words.span(first, last)
            bearer = self._table.bearer(name, text, *span)
            if bearer is not None:
                yield _Hit(first, last, bearer, bearer.kind), self._is_part(text, span, bearer)

    def _is_part(self, text: str, span: tuple[int, int], bearer: Bearer) -> bool:
        """Whether a longer name stands there, which the bearer's edits do not have themselves."""
        longer = longer_name(text, *span)
        return longer is not None and not any(
            longer in self._told.get(edit_id, ()) for edit_id in bearer.edit_ids
        )

    def _standing(self, words: Words) -> list[_Place]:
        """Where names stand, in whatever case."""
        if self._automaton is None:
            return []
        found = self._automaton.find_matches_as_indexes(f" {words.text} ", overlapping=True)
        begins = [0, *accumulate(len(word) + 1 for word in words.words)] if found else []
        return [
            (bisect_left(begins, start), bisect_left(begins, end - 1), name)
            for name, start, end in found
        ]

    def _other_order(self, text: str, words: Words, exact: list[_Hit]) -> list[_Hit]:
        """`exact` and the names whose words stand in another order, unless two entities do."""
        if self._reordered is None:
            return exact
        inside = {place for hit in exact for place in range(hit.first + 1, hit.last)}
        found: dict[tuple[int, int], list[Bearer]] = {}
        for first, last, name in self._reordered.search(text, words):
            surface = slice(*words.span(first, last))
            bearer = self._table.bearers[name][0]
            if first in inside or last in inside:  # "New [York City, New] York"
                continue
            part = self._is_part(text, (surface.start, surface.stop), bearer)
            if not part and self._reordered.capitals_fit(text[surface], bearer.subject):
                found.setdefault((first, last), []).append(bearer)
        hits = [
            _Hit(first, last, bearers[0], "reordered", SCORE)
            for (first, last), bearers in found.items()
            if len({bearer.subject for bearer in bearers}) == 1
        ]
        return _disjoint(exact + hits, words) if hits else exact

    def _misspelt(
        self, text: str, words: Words, exact: Sequence[_Hit], *, wide: bool = False
    ) -> tuple[list[_Hit], list[tuple[_Hit, str]]]:
        """(hits, refused with the reason) among the misspelt names of the text."""
        if self._fuzzy is None:
            return [], []
        settled = bytearray(len(words.words))
        for hit in exact:
            settled[hit.first : hit.last] = b"\x01" * (hit.last - hit.first)
        fitting, refused = [], []
        for found in self._fuzzy.search(words.words, settled, wide=wide):
            low, high = words.span(found.first, found.last)
            bearer, reason = self._table.misspelt_bearer(found.name, text[low:high])
            hit = _Hit(
                found.first, found.last, bearer, "fuzzy", found.score, found.edits, found.support
            )
            reason = found.reason or reason
            if not reason and self._is_part(text, (low, high), bearer):
                reason = LONGER
            if reason:
                refused.append((hit, reason))
            else:
                fitting.append(hit)
        hits, ambiguous = _unambiguous(fitting, len(words.words))
        return hits, refused + [(hit, TWO_FIT) for hit in ambiguous]


def disjoint(mentions: Sequence[Mention]) -> list[Mention]:
    """Of mentions that overlap the longest, of equally long ones that with the higher score."""

    def rank(mention: Mention) -> tuple[int, float, int, str]:
        return mention.start - mention.end, -mention.score, mention.start, mention.subject

    return _first_come(sorted(mentions, key=rank), lambda own: slice(own.start, own.end))


def _mention(text: str, words: Words, hit: _Hit, *, fired: bool = True) -> Mention:
    start, end = words.span(hit.first, hit.last)
    bearer = hit.bearer
    return Mention(
        bearer.edit_ids, bearer.subject, text[start:end], start, end, hit.kind,
        score=round(hit.score, 3), fired=fired,
    )  # fmt: skip


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
    same = hit.bearer.subject == other.bearer.subject
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
            same = hit.bearer.subject == rival.bearer.subject
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
