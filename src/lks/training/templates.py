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
from lks.scope.bank.words import ENGLISH, language_of
from lks.scope.gate.metric import Embed
from lks.scope.gate.questions import MASK

FEW = 5  # relations looked at closely
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

    A quicker embedder chooses a few relations for each, if there is one. A template in another
    language is compared with the relation's wordings in it.
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
    vectors = zip(distinct, quick(distinct), strict=True)
    chosen = {form: _first(of, vector @ known.T) for form, vector in vectors}
    numbers = list(dict.fromkeys(chain.from_iterable(chosen.values())))
    rows = {n: embed([texts[row] for row in np.flatnonzero(of == n)]) for n in numbers}
    found = []
    for form, text, vector in zip(asked, forms, embed(forms), strict=True):
        near = {n: float((rows[n] @ vector).max()) for n in chosen[text]}
        best = max(near, key=lambda n: near[n])
        relation, language = relations[best], language_of(form)
        if language != ENGLISH:
            own = embed([t.replace(SLOT, MASK) for t in relation.translated.get(language, [MASK])])
            near[best] = float((own @ vector).max())
        found.append(Nearest(relation, near[best], language))
    return found


def _first(of: NDArray[np.int64], scores: NDArray[np.float32]) -> list[int]:
    """The few relations with the highest score of a prompt, from those of all prompts, [p]."""
    highest = np.argsort(-scores)[: FEW * MOST]
    return list(dict.fromkeys(of[highest].tolist()))[:FEW]


def masked(form: str) -> str:
    """A template as the embedder compares it: a pronoun stands for the entity."""
    return _ENTITY.sub(MASK, form)
