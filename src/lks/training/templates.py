"""The wordings that an edit which brings its prompt alone borrows of a common relation."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lks.edits.edit import SLOT
from lks.scope.gate.prototypes import NEAR, CommonRelations, Embed
from lks.scope.gate.questions import MASK
from lks.scope.gate.vetoes import denies

_ENTITY = re.compile(rf"(?:\bthe )?{re.escape(SLOT)}", re.IGNORECASE)
_QUALIFIED = re.compile(  # "The former employer of it is" asks for another thing, and is near
    r"\b(?:former|previous|next|second|third|old|new|deputy|vice|acting|almost)(?:ly)?\b"
)
_MASK = re.compile(rf"\b{MASK}\b")  # several in one wording are not all the entity


def templates_near(embed: Embed, asked: Sequence[str]) -> list[list[str]]:
    """Templates, with `{}` for the entity, of the common relation that each given one asks for.

    None where no wording of a relation is near enough.
    """
    if not asked:
        return []
    common = CommonRelations.of(embed)
    questions = [_ENTITY.sub(MASK, form) for form in asked]
    scores = embed(questions) @ common.vectors.T
    found: list[list[str]] = []
    for question, own in zip(questions, scores, strict=True):
        nearest = int(own.argmax())
        lent = {*_QUALIFIED.findall(common.texts[nearest])}
        other = {*_QUALIFIED.findall(question.lower())} - lent
        near = own[nearest] >= NEAR and not other and not denies(question)
        relation = np.flatnonzero(common.relation == common.relation[nearest])
        texts = [common.texts[k] for k in relation]
        forms = [_MASK.sub(SLOT, t) for t in texts if len(_MASK.findall(t)) == 1]
        found.append(forms if near else [])
    return found
