"""Edits whose names get in each other's way, to be told when they are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
    patterns, bearers = table.patterns, table.bearers
    pairs = DeletionIndex([search_key(pattern) for pattern in patterns]).neighbours(
        2 * allowed(LARGEST)
    )
    left = [patterns[index] for index in pairs[:, 0].tolist()]
    right = [patterns[index] for index in pairs[:, 1].tolist()]
    if not left:
        return
    edits = cpdist(list(map(letters, left)), list(map(letters, right)), scorer=OSA.distance)
    for (one, other), distance in zip(pairs.tolist(), edits.tolist(), strict=True):
        if distance > allowed(LARGEST):
            continue
        ours, theirs = bearers[one][0].subject, bearers[other][0].subject
        if ours == theirs or set(bearers[one][0].edit_ids) & set(bearers[other][0].edit_ids):
            continue
        words, meant = patterns[one].split(" "), patterns[other].split(" ")
        if not Misspelling(words, meant, int(distance), False).refusal(common, ()):
            ours, theirs = sorted((ours, theirs))
            yield f'"{ours}" and "{theirs}" are a misspelling apart: only exact spellings count'
