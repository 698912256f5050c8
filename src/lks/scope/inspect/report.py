"""What a scope does over many texts: how often it fires, what fires most, what nearly did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lks.scope.types import Finding, Mention, Reason

NEAR = 0.1  # a score so little below its threshold is a near miss
SHOWN = 10
BESIDE = 40  # characters shown on either side of a name


def summarise(
    texts: Sequence[str],
    examined: Sequence[Sequence[Finding]],
    refused: Sequence[Sequence[tuple[Mention, Reason]]],
) -> dict[str, Any]:
    """Counts over texts, their findings and the names refused in them (`Scope.near_misses`).

    `per_1000` counts texts: in which some edit fired, and in which an entity was named at all.
    """
    fired = [[finding for finding in found if finding.mention.fired] for found in examined]
    thousandth = len(texts) / 1000 or 1.0
    edits = Counter(e for found in fired for e in {i for f in found for i in f.mention.edit_ids})
    return {
        "texts": len(texts),
        "per_1000": {
            "fired": round(sum(map(bool, fired)) / thousandth, 2),
            "named": round(sum(map(bool, examined)) / thousandth, 2),
        },
        "kinds": dict(Counter(f.mention.kind for found in examined for f in found)),
        "most_triggered": [{"edit_id": e, "texts": n} for e, n in edits.most_common(SHOWN)],
        "near_misses": _near(texts, examined),
        "names_refused": _refused(texts, refused),
    }


def _near(texts: Sequence[str], examined: Sequence[Sequence[Finding]]) -> list[dict[str, Any]]:
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
        {
            "text": texts[number][:200],
            "edit_id": edit_id,
            "reason": str(decision.reason),
            "score": round(decision.score, 4),
            "threshold": decision.threshold,
        }
        for (number, edit_id), decision in nearest[:SHOWN]
    ]


def _refused(
    texts: Sequence[str], refused: Sequence[Sequence[tuple[Mention, Reason]]]
) -> list[dict[str, Any]]:
    """What looked like a name and did not count, the likeliest first, each surface once."""
    found = {
        (mention.surface, mention.subject): (mention, reason, text)
        for text, own in zip(texts, refused, strict=True)
        for mention, reason in own
    }
    nearest = sorted(found.values(), key=lambda item: -item[0].score)
    return [
        {
            "text": text[max(mention.start - BESIDE, 0) : mention.end + BESIDE],
            "surface": mention.surface,
            "subject": mention.subject,
            "score": mention.score,
            "reason": str(reason),
        }
        for mention, reason, text in nearest[:SHOWN]
    ]
