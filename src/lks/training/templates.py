"""The wordings that an edit borrows of the relation in the bank that its prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lks.edits.edit import SLOT
from lks.scope.bank.relations import Relation, bank, prompts_of
from lks.scope.gate.metric import Embed
from lks.scope.gate.questions import MASK

_ENTITY = re.compile(rf"(?:\bthe )?{re.escape(SLOT)}", re.IGNORECASE)


def templates_near(embed: Embed, asked: Sequence[str], least: float) -> list[list[str]]:
    """Templates, with `{}` for the entity, of the common relation that each given one asks for.

    There are none where `relations_near` finds no relation.
    """
    return [own.wordings if own else [] for own in relations_near(embed, asked, least)]


def relations_near(embed: Embed, asked: Sequence[str], least: float) -> list[Relation | None]:
    """The common relation that each given template asks for.

    Args:
        least: cosine from which two wordings ask the same; where no wording of a relation is so
            near, there is none.
    """
    if not asked:
        return []
    relations = bank()
    prompts = prompts_of(relations)
    kept: Embed = getattr(embed, "kept", embed)
    vectors = kept([text.replace(SLOT, MASK) for _, text in prompts])
    scores = embed(list(map(masked, asked))) @ vectors.T
    nearest = scores.argmax(1).tolist()
    return [
        relations[prompts[at][0]] if own[at] >= least else None
        for at, own in zip(nearest, scores, strict=True)
    ]


def masked(form: str) -> str:
    """A template with the word in the entity's place that the gate compares questions with."""
    return _ENTITY.sub(MASK, form)
