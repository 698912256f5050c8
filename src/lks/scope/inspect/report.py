"""What a scope does over many texts: how often it fires, what fires most, what nearly did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lks.scope.types import Finding, Mention

NEAR = 0.1  # a score so little below its threshold is a near miss
SHOWN = 10
BESIDE = 40  # characters shown on either side of a name


def summarise(
    texts: Sequence[str],
    examined: Sequence[Sequence[Finding]],
    refused: Sequence[Sequence[tuple[Mention, str]]],
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
        (number, verdict.edit_id): verdict
        for number, found in enumerate(examined)
        for finding in found
        for verdict in finding.verdicts
        if not verdict.fired and verdict.score >= verdict.threshold - NEAR
    }
    nearest = sorted(close.items(), key=lambda item: item[1].threshold - item[1].score)
    return [
        {
            "text": texts[number][:200], "edit_id": edit_id, "why": verdict.why,
            "score": round(verdict.score, 4), "threshold": verdict.threshold,
        }
        for (number, edit_id), verdict in nearest[:SHOWN]
    ]  # fmt: skip


def _refused(
    texts: Sequence[str], refused: Sequence[Sequence[tuple[Mention, str]]]
) -> list[dict[str, Any]]:
    """What looked like a name and did not count, the likeliest first, each surface once."""
    found = {
        (mention.surface, mention.subject): (mention, why, text)
        for text, own in zip(texts, refused, strict=True)
        for mention, why in own
    }
    nearest = sorted(found.values(), key=lambda item: -item[0].score)
    return [
        {
            "text": text[max(mention.start - BESIDE, 0) : mention.end + BESIDE],
            "surface": mention.surface,
            "subject": mention.subject,
            "score": mention.score,
            "why": why,
        }
        for mention, why, text in nearest[:SHOWN]
    ]
