"""The wordings that an edit borrows of the relation in the bank that its prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
from numpy.typing import NDArray

from lks.edits.edit import SLOT
from lks.scope.bank.relations import ANYTHING, Relation, bank, prompts_of
from lks.scope.bank.values import values_unlike
from lks.scope.bank.words import ENGLISH, language_of
from lks.scope.gate.metric import Embed
from lks.scope.gate.questions import MASK

FEW, PROMPTS = 5, 4  # relations looked at closely, by so many of their prompts
MOST = 16  # about the prompts of a relation
MARGIN = 0.03  # a relation for anything may be this much farther: its words suit all entities
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


def nearest_relations(
    embed: Embed, asked: Sequence[str], targets: Sequence[str] | None = None
) -> list[Nearest]:
    """The relation nearest to each of some templates, with `{}` for the entity.

    With the targets of their edits, only relations that can have such a value are taken. One for
    anything goes before one that is hardly nearer. A quicker embedder chooses a few relations for
    each, if there is one. A template in another language is compared with the relation's wordings
    in it.
    """
    if not asked:
        return []
    relations = bank()
    prompts = prompts_of(relations)
    of = np.array([number for number, _ in prompts])
    texts = [text.replace(SLOT, MASK) for _, text in prompts]
    ahead = np.array([MARGIN * (own.kind == ANYTHING) for own in relations], np.float32)
    quick: Embed = getattr(embed, "quick", embed)
    kept: Embed = getattr(quick, "kept", quick)
    forms = [masked(form) for form in asked]
    unlike = map(values_unlike, targets) if targets else repeat(frozenset[str](), len(forms))
    keys = list(zip(map(language_of, forms), unlike, strict=True))
    fits = {key: np.array([_fits(own, *key) for own in relations])[of] for key in set(keys)}
    asks, distinct = list(zip(forms, keys, strict=True)), list(dict.fromkeys(forms))
    known, vectors = kept(texts), dict(zip(distinct, quick(distinct), strict=True))
    chosen = {}
    for form, key in dict.fromkeys(asks):
        scores = np.where(fits[key], vectors[form] @ known.T + ahead[of], -np.inf)
        chosen[form, key] = _first(of, scores)
    rows = list(
        dict.fromkeys(row for few in chosen.values() for own in few.values() for row in own)
    )
    read = dict(zip(rows, embed([texts[row] for row in rows]), strict=True))
    found = []
    for ask, vector in zip(asks, embed(forms), strict=True):
        few = chosen[ask].items()
        near = {n: max(float(read[row] @ vector) for row in own) for n, own in few}
        best = max(near, key=lambda n: near[n] + ahead[n])
        relation, (_, (language, _)) = relations[best], ask
        if language != ENGLISH:
            own = embed([t.replace(SLOT, MASK) for t in relation.translated.get(language, [MASK])])
            near[best] = float((own @ vector).max())
        found.append(Nearest(relation, near[best], language))
    return found


def _fits(relation: Relation, language: str, unlike: frozenset[str]) -> bool:
    """Whether a relation may lend to an edit in a language whose target cannot be these values.

    In other languages targets are not looked at, and a relation for anything that nobody has
    translated would only hide one that is.
    """
    if language == ENGLISH:
        return relation.value not in unlike
    return relation.kind != ANYTHING or language in relation.translated


def _first(of: NDArray[np.int64], scores: NDArray[np.float32]) -> dict[int, list[int]]:
    """The few relations with the highest score of a prompt, and of each its best prompts."""
    found: dict[int, list[int]] = {}
    for row in np.argsort(-scores)[: FEW * MOST].tolist():
        own = found.setdefault(int(of[row]), [])
        if len(own) < PROMPTS:
            own.append(row)
    return dict(islice(found.items(), FEW))


def masked(form: str) -> str:
    """A template as the embedder compares it: a pronoun stands for the entity."""
    return _ENTITY.sub(MASK, form)
