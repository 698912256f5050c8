"""The wordings that an edit borrows of the relation in the bank that its prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lks.edits.edit import SLOT
from lks.scope.bank.relations import Relation, bank, prompts_of
from lks.scope.bank.words import language_of
from lks.scope.gate.metric import Embed
from lks.scope.gate.questions import MASK

_ENTITY = re.compile(rf"(?:\bthe )?{re.escape(SLOT)}", re.IGNORECASE)


@dataclass(frozen=True)
class Nearest:
    """The common relation nearest to a template, the cosine of its nearest wording, and the
    template's language."""

    relation: Relation
    cosine: float
    language: str

    def wordings(self, least: float) -> list[str]:
        """The relation's templates, with `{}` for the entity, those in the language first; none if
        it is not so near."""
        return self.relation.wordings_in(self.language) if self.cosine >= least else []


def nearest_relations(embed: Embed, asked: Sequence[str]) -> list[Nearest]:
    """The relation nearest to each of some templates, with `{}` for the entity."""
    if not asked:
        return []
    relations = bank()
    prompts = prompts_of(relations)
    kept: Embed = getattr(embed, "kept", embed)
    vectors = kept([text.replace(SLOT, MASK) for _, text in prompts])
    scores = embed([masked(form) for form in asked]) @ vectors.T
    nearest = scores.argmax(1).tolist()
    return [
        Nearest(relations[prompts[at][0]], float(own[at]), language_of(form))
        for form, at, own in zip(asked, nearest, scores, strict=True)
    ]


def masked(form: str) -> str:
    """A template as the embedder compares it: a pronoun stands for the entity."""
    return _ENTITY.sub(MASK, form)
