"""Edits whose names get in each other's way, to be told when they are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import OSA
from rapidfuzz.process import cpdist

from lks.edits.aliases import AliasDictionary
from lks.edits.edit import Edit
from lks.edits.text import entity_key, same_text
from lks.scope.candidates.fuzzy.deletion_index import LARGEST, DeletionIndex
from lks.scope.candidates.fuzzy.generator import letters, search_key
from lks.scope.candidates.fuzzy.spelling import Misspelling, allowed
from lks.scope.languages.en import CommonWords
from lks.scope.names.derived import more_names
from lks.scope.names.index import EntityIndex
from lks.scope.normalizer import normalise
from lks.scope.scope import Scope
from lks.scope.types import Reason, ids

# Pairs in two large files that reach a gate's threshold (.55) and ask the same score more, nearly
# all; two facts of one thing ("it is made in", "What is the housing of it made of?") may have .60.
CLEAR = 0.65
_CHUNK = 1_000  # names compared with the others at once
CONTRADICTING, NEARER_DECIDES = "edits that contradict each other", "; the nearer wording decides"


def clashes(edits: Iterable[Edit], aliases: AliasDictionary | None = None) -> list[str]:
    """One line for each pair of subjects that a text could confuse, in order of the alphabet.

    Two subjects share a name, or the name of one is a misspelling of the other's. Found by index:
    10,000 names take about a second.
    """
    edits, common = list(edits), CommonWords()
    table = EntityIndex(edits, common, more=more_names(edits, common, aliases, derived=False))
    subjects = {edit.id: edit.subject for edit in edits}
    lines = {*_shared(table, subjects), *_misspelt(table, common)}
    return sorted(lines)


@dataclass(frozen=True)
class Contradiction:
    """Two edits of one entity that answer one question differently: `asked` asks for `too`."""

    asked: Edit
    too: Edit

    def __str__(self) -> str:
        asked, too = self.asked, self.too
        return (
            f'"{asked.prompt}" ({asked.id}: {asked.target.strip()}) asks for {too.id} '
            f"({too.target.strip()}) too"
        )


def contradictions(
    edits: Sequence[Edit], known: Iterable[Edit], scope: Scope
) -> list[Contradiction]:
    """Each pair of edits that contradict each other, once.

    They do if the prompt of one of `edits` clearly asks for another one too, and their targets
    differ. Without a relation gate nothing is found.

    Args:
        known: all edits of `scope`.
    """
    by_id = {edit.id: edit for edit in known}
    named = scope.with_gate(None).fired([edit.prompt for edit in edits])
    asked = [e for e, found in zip(edits, named, strict=True) if len(ids(found)) > 1]
    pairs: dict[frozenset[str], Contradiction] = {}
    for edit, found in zip(asked, scope.examine([e.prompt for e in asked]), strict=True):
        for decision in (decision for finding in found for decision in finding.decisions):
            other = by_id[decision.edit_id]
            near = decision.fired or decision.reason == Reason.NEARER
            reached = decision.score >= CLEAR and near
            same = entity_key(edit.subject) == entity_key(other.subject)
            if reached and same and same_text(edit.target) != same_text(other.target):
                pairs.setdefault(frozenset((edit.id, other.id)), Contradiction(edit, other))
    return list(pairs.values())


def _shared(table: EntityIndex, subjects: dict[str, str]) -> Iterator[str]:
    for pattern, bearers in zip(table.patterns, table.bearers, strict=True):
        for entity in bearers:
            own: dict[tuple[str, ...], str] = {}
            for edit_id in entity.edit_ids:
                subject = subjects[edit_id]
                words = tuple(normalise(subject).words)
                own[words] = min(subject, own.get(words, subject))
            if len(own) > 1:
                names = " and ".join(f'"{subject}"' for subject in sorted(own.values()))
                yield f'"{pattern}" is a name of {names}: it triggers the edits of both'


def _misspelt(table: EntityIndex, common: CommonWords) -> Iterator[str]:
    names, farthest = [letters(pattern) for pattern in table.patterns], allowed(LARGEST)
    keys = [search_key(pattern) for pattern in table.patterns]
    index = DeletionIndex(keys)
    for start in range(0, len(keys), _CHUNK):
        chunk = range(start, len(keys))[:_CHUNK]
        filed = [(number, own) for number in chunk for own in index.pieces(keys[number])]
        piece, other = index.find([own for _, own in filed])
        one = np.array([number for number, _ in filed], dtype=np.int64)[piece]
        near = (one < other) & (np.abs(index.lengths[one] - index.lengths[other]) <= farthest)
        pairs = list(zip(one[near].tolist(), other[near].tolist(), strict=True))
        left, right = [names[a] for a, _ in pairs], [names[b] for _, b in pairs]
        edits = cpdist(left, right, scorer=OSA.distance, score_cutoff=farthest)
        for row in np.flatnonzero(edits <= farthest).tolist():
            if line := _alike(table, *pairs[row], int(edits[row]), common):
                yield line


def _alike(table: EntityIndex, one: int, other: int, edits: int, common: CommonWords) -> str | None:
    """The line to tell where two names, so many edits apart, may be taken for each other."""
    ours, theirs = table.bearers[one][0], table.bearers[other][0]
    if ours.subject == theirs.subject or set(ours.edit_ids) & set(theirs.edit_ids):
        return None
    words, meant = table.patterns[one].split(" "), table.patterns[other].split(" ")
    if Misspelling(words, meant, edits).refusal(common, ()):
        return None
    first, second = sorted((ours.subject, theirs.subject))
    return f'"{first}" and "{second}" are a misspelling apart: only exact spellings count'
