"""The wordings that an edit borrows of the relation in the bank that its prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lks.edits.edit import SLOT
from lks.scope.bank.relations import bank, prompts_of
from lks.scope.bank.words import language_of
from lks.scope.gate.metric import Embed
from lks.scope.gate.questions import MASK

_ENTITY = re.compile(rf"(?:\bthe )?{re.escape(SLOT)}", re.IGNORECASE)


def templates_near(embed: Embed, asked: Sequence[str], least: float) -> list[list[str]]:
    """Templates, with `{}` for the entity, of the common relation that each given one asks for:
    those in its language first.

    Args:
        least: cosine from which two wordings ask the same; where no wording of a relation is so
            near, there are no templates.
    """
    if not asked:
        return []
    relations = bank()
    prompts = prompts_of(relations)
    kept: Embed = getattr(embed, "kept", embed)
    vectors = kept([text.replace(SLOT, MASK) for _, text in prompts])
    scores = embed([_ENTITY.sub(MASK, form) for form in asked]) @ vectors.T
    nearest = scores.argmax(1).tolist()
    return [
        relations[prompts[at][0]].wordings_in(language_of(form)) if own[at] >= least else []
        for form, at, own in zip(asked, nearest, scores, strict=True)
    ]
