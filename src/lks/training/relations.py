"""Wordings of common relations: what is learnt from beside a user's own edits.

From them the relation gate learns what matters in a question; a few edits alone would teach it
their own words. An edit that brings its prompt alone borrows those of its relation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files

from lks.edits import SLOT
from lks.scope.relation import Embed
from lks.scope.sentences import MASK, denies

NEAR = 0.8  # cosine of two wordings from which they are taken to ask for one relation
_ENTITY = re.compile(rf"(?:\bthe )?{re.escape(SLOT)}", re.IGNORECASE)
_QUALIFIED = re.compile(  # "The former employer of it is" asks for another thing, and is near
    r"\b(?:former|previous|next|second|third|old|new|deputy|vice|acting|almost)(?:ly)?\b"
)
_MASK = re.compile(rf"\b{MASK}\b")  # several in one wording are not all the entity


def common_relations() -> tuple[list[list[str]], list[list[str]]]:
    """(wordings of each relation, questions for another thing about an entity of its kind).

    In both the entity is masked, as in `scope.sentences`. Kinds are people, places, works and so
    on; the other questions of a relation are the wordings of all others of its kind.
    """
    text = files("lks").joinpath("data/relations.json").read_text(encoding="utf-8")
    wordings, others = [], []
    for kind in json.loads(text).values():
        for name, own in kind.items():
            wordings.append(own)
            others.append([t for other, asked in kind.items() if other != name for t in asked])
    return wordings, others


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
