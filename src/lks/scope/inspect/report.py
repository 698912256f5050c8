"""What a scope does over many texts: how often it fires, what fires most, what nearly did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from lks.scope.types import Finding, Mention, Reason

NEAR = 0.1  # a score so little below its threshold is a near miss
SHOWN = 10
BESIDE = 40  # characters shown on either side of a name


@dataclass(frozen=True)
class Rates:
    """Of 1,000 texts: in how many some edit fired, and in how many an entity was named at all."""

    fired: float
    named: float


@dataclass(frozen=True)
class Triggered:
    """An edit, and in how many texts it fired."""

    edit_id: str
    texts: int


@dataclass(frozen=True)
class NearMiss:
    """An edit that came close to firing in a text."""

    text: str
    edit_id: str
    reason: Reason
    score: float
    threshold: float


@dataclass(frozen=True)
class RefusedName:
    """What looked like a subject's name and was not taken for it; `text` is what stands around."""

    text: str
    surface: str
    subject: str
    score: float
    reason: Reason


@dataclass(frozen=True)
class ScopeReport:
    """What a scope did over texts, so many.

    Attributes:
        kinds: mentions by how they matched.
        most_triggered, near_misses, names_refused: the first `SHOWN`.
    """

    texts: int
    per_1000: Rates
    kinds: Mapping[str, int]
    most_triggered: Sequence[Triggered]
    near_misses: Sequence[NearMiss]
    names_refused: Sequence[RefusedName]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def summarise(
    texts: Sequence[str],
    examined: Sequence[Sequence[Finding]],
    refused: Sequence[Sequence[tuple[Mention, Reason]]],
) -> ScopeReport:
    """Counts over texts, their findings and the names refused in them (`Scope.near_misses`)."""
    fired = [[finding for finding in found if finding.mention.fired] for found in examined]
    thousandth = len(texts) / 1000 or 1.0
    edits = Counter(e for found in fired for e in {i for f in found for i in f.mention.edit_ids})
    return ScopeReport(
        texts=len(texts),
        per_1000=Rates(
            fired=round(sum(map(bool, fired)) / thousandth, 2),
            named=round(sum(map(bool, examined)) / thousandth, 2),
        ),
        kinds=dict(Counter(f.mention.kind for found in examined for f in found)),
        most_triggered=[Triggered(e, n) for e, n in edits.most_common(SHOWN)],
        near_misses=_near(texts, examined),
        names_refused=_refused(texts, refused),
    )


def _near(texts: Sequence[str], examined: Sequence[Sequence[Finding]]) -> list[NearMiss]:
    """Texts in which an edit came close to firing, the closest first."""
    close = {
        (number, decision.edit_id): decision
        for number, found in enumerate(examined)
        for finding in found
        for decision in finding.decisions
        if not decision.fired and decision.score >= decision.threshold - NEAR
    }
    nearest = sorted(close.items(), key=lambda item: item[1].threshold - item[1].score)
    return [
        NearMiss(
            text=texts[number][:200],
            edit_id=edit_id,
            reason=decision.reason,
            score=round(decision.score, 4),
            threshold=decision.threshold,
        )
        for (number, edit_id), decision in nearest[:SHOWN]
    ]


def _refused(
    texts: Sequence[str], refused: Sequence[Sequence[tuple[Mention, Reason]]]
) -> list[RefusedName]:
    """What looked like a name and did not count, the likeliest first, each surface once."""
    found = {
        (mention.surface, mention.subject): (mention, reason, text)
        for text, own in zip(texts, refused, strict=True)
        for mention, reason in own
    }
    nearest = sorted(found.values(), key=lambda item: -item[0].score)
    return [
        RefusedName(
            text=text[max(mention.start - BESIDE, 0) : mention.end + BESIDE],
            surface=mention.surface,
            subject=mention.subject,
            score=mention.score,
            reason=reason,
        )
        for mention, reason, text in nearest[:SHOWN]
    ]
