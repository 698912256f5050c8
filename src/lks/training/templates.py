"""The wordings that an edit borrows of the relation in the bank that its prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from lks.edits.edit import SLOT
from lks.scope.bank.relations import Relation, bank, prompts_of
from lks.scope.bank.words import language_of
from lks.scope.gate.metric import Embed
from lks.scope.gate.questions import MASK

FEW = 3  # relations looked at closely
MOST = 16  # about the prompts of a relation
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
    """The relation nearest to each of some templates, with `{}` for the entity.

    A quicker embedder chooses a few relations for each, if there is one.
    """
    if not asked:
        return []
    relations = bank()
    prompts = prompts_of(relations)
    of = np.array([number for number, _ in prompts])
    texts = [text.replace(SLOT, MASK) for _, text in prompts]
    quick: Embed = getattr(embed, "quick", embed)
    kept: Embed = getattr(quick, "kept", quick)
    forms = [masked(form) for form in asked]
    distinct, known = list(dict.fromkeys(forms)), kept(texts)
    best = {
        form: _first(of, vector @ known.T)
        for form, vector in zip(distinct, quick(distinct), strict=True)
    }
    rows = {n: np.flatnonzero(of == n).tolist() for n in set(chain.from_iterable(best.values()))}
    needed = [texts[row] for own in rows.values() for row in own]
    vectors = dict(zip(needed, embed(needed), strict=True))
    found = []
    for form, text, vector in zip(asked, forms, embed(forms), strict=True):
        near = {n: max(float(vectors[texts[r]] @ vector) for r in rows[n]) for n in best[text]}
        nearest = max(near, key=lambda n: near[n])
        found.append(Nearest(relations[nearest], near[nearest], language_of(form)))
    return found


def _first(of: NDArray[np.int64], scores: NDArray[np.float32]) -> list[int]:
    """The few relations with the highest score of a prompt, from those of all prompts, [p]."""
    highest = np.argsort(-scores)[: FEW * MOST]
    return list(dict.fromkeys(of[highest].tolist()))[:FEW]


def masked(form: str) -> str:
    """A template as the embedder compares it: a pronoun stands for the entity."""
    return _ENTITY.sub(MASK, form)
