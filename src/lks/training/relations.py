"""The wordings that an edit which brings its prompt alone borrows of a common relation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lks.edits import SLOT
from lks.scope.common import NEAR, Embed, common_relations
from lks.scope.sentences import MASK, denies

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
    relations, _ = common_relations()
    owner = [(relation, text) for relation in relations for text in relation]
    questions = [_ENTITY.sub(MASK, form) for form in asked]
    scores = embed(questions) @ embed([text for _, text in owner]).T
    found: list[list[str]] = []
    for question, own in zip(questions, scores, strict=True):
        relation, text = owner[int(own.argmax())]
        other = {*_QUALIFIED.findall(question.lower())} - {*_QUALIFIED.findall(text)}
        near = own.max() >= NEAR and not other and not denies(question)
        forms = [_MASK.sub(SLOT, t) for t in relation if len(_MASK.findall(t)) == 1]
        found.append(forms if near else [])
    return found
