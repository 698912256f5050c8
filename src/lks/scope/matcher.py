"""The matcher: which edited entities a text names, and where.

Names as they are written are found by one pass of an Aho-Corasick automaton (package
ahocorasick-rs) over the folded words, however many names there are; misspelt ones by an index.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from ahocorasick_rs import AhoCorasick, Implementation

from lks.edits.aliases import AliasDictionary
from lks.edits.edit import Edit
from lks.scope.candidates.demonyms import Adjectives
from lks.scope.candidates.fuzzy.generator import FuzzyIndex
from lks.scope.candidates.fuzzy.spelling import TWO_FIT
from lks.scope.candidates.reordered import SCORE, ReorderedIndex
from lks.scope.candidates.token_set import Proposal, RewordedIndex, sentences
from lks.scope.filters.longer_name import LONGER, longer_name, may_be_longer, told_so
from lks.scope.languages.en import CommonWords
from lks.scope.names.derived import more_names
from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import Words, normalise
from lks.scope.resolver import _disjoint, _holds_more, _same_place, _unambiguous
from lks.scope.types import Entity, Mention, _Hit

# Behind these a word in another case is a common one: the ring, our shell company.
_DETERMINERS = {"a", "an", "the", "my", "our", "your", "his", "her", "their", "this", "that"}
_DETERMINERS |= {"these", "those", "new", "every", "each", "some", "any", "no"}
_Place = tuple[int, int, int]  # first, last, name: words[first:last] are pattern `name`


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
        self._table, self._told = EntityIndex(edits, common, more, varied=fuzzy), told_so(edits)
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
            for entity in self._table.bearers[place.name]:
                mention = _mention(text, words, _Hit(place.first, place.last, entity, "reworded"))
                if named.isdisjoint(entity.edit_ids):
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
            if not self._table.entity(name, text, *words.span(first, last))
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
            entity = self._table.entity(name, text, *span)
            if entity is not None:
                yield _Hit(first, last, entity, entity.kind), self._is_part(text, span, entity)

    def _is_part(self, text: str, span: tuple[int, int], entity: Entity) -> bool:
        """Whether a longer name stands there, which the bearer's edits do not have themselves."""
        longer = longer_name(text, *span)
        return longer is not None and not any(
            longer in self._told.get(edit_id, ()) for edit_id in entity.edit_ids
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
        found: dict[tuple[int, int], list[Entity]] = {}
        for first, last, name in self._reordered.search(text, words):
            surface = slice(*words.span(first, last))
            entity = self._table.bearers[name][0]
            if first in inside or last in inside:  # "New [York City, New] York"
                continue
            part = self._is_part(text, (surface.start, surface.stop), entity)
            if not part and self._reordered.capitals_fit(text[surface], entity.subject):
                found.setdefault((first, last), []).append(entity)
        hits = [
            _Hit(first, last, bearers[0], "reordered", SCORE)
            for (first, last), bearers in found.items()
            if len({entity.subject for entity in bearers}) == 1
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
            entity, reason = self._table.misspelt_bearer(found.name, text[low:high])
            hit = _Hit(
                found.first, found.last, entity, "fuzzy", found.score, found.edits, found.support
            )
            reason = found.reason or reason
            if not reason and self._is_part(text, (low, high), entity):
                reason = LONGER
            if reason:
                refused.append((hit, reason))
            else:
                fitting.append(hit)
        hits, ambiguous = _unambiguous(fitting, len(words.words))
        return hits, refused + [(hit, TWO_FIT) for hit in ambiguous]


def _mention(text: str, words: Words, hit: _Hit, *, fired: bool = True) -> Mention:
    start, end = words.span(hit.first, hit.last)
    entity = hit.entity
    return Mention(
        entity.edit_ids, entity.subject, text[start:end], start, end, hit.kind,
        score=round(hit.score, 3), fired=fired,
    )  # fmt: skip
