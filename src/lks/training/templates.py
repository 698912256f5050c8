"""The wordings that an edit borrows of the relation in the bank that its prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from lks.edits.edit import SLOT
from lks.scope.bank.relations import ANYTHING, Relation, bank, prompts_of
from lks.scope.bank.values import values_unlike
from lks.scope.bank.words import ENGLISH, language_of
from lks.scope.gate.metric import Array, Embed
from lks.scope.gate.questions import MASK

FEW, PROMPTS = 5, 4  # relations looked at closely, by so many of their prompts
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


@dataclass(frozen=True)
class _Asked:
    """An edit's masked templates, of one language, and the values that its target cannot be."""

    forms: tuple[str, ...]
    language: str
    unlike: frozenset[str]

    @classmethod
    def of(cls, templates: Sequence[str], target: str | None) -> _Asked:
        forms = [masked(form) for form in templates]
        language = language_of(forms[0])
        own = dict.fromkeys(form for form in forms if language_of(form) == language)
        return cls(tuple(own), language, values_unlike(target) if target else frozenset())


@dataclass(frozen=True)
class _Known:
    """What relations are compared by: their prompts, and the quicker embedder's vectors of these.

    Attributes:
        starts: of each relation's prompts; they stand in order.
        ahead: how much farther each relation may be.
    """

    relations: list[Relation]
    prompts: list[str]
    starts: NDArray[np.int64]
    ahead: Array
    vectors: Array

    @classmethod
    def of(cls, quick: Embed) -> _Known:
        relations = bank()
        pairs = prompts_of(relations)
        texts = [text.replace(SLOT, MASK) for _, text in pairs]
        starts = np.searchsorted([number for number, _ in pairs], np.arange(len(relations)))
        ahead = [MARGIN * (own.kind == ANYTHING) for own in relations]
        kept: Embed = getattr(quick, "kept", quick)
        return cls(relations, texts, starts, np.array(ahead, np.float32), kept(texts))

    def first(self, forms: Array, fit: NDArray[np.bool_]) -> dict[int, list[int]]:
        """The few relations nearest to some forms, [f, w], and of each the nearest prompts.

        Args:
            fit: of each relation, whether it may be taken.
        """
        scores = forms @ self.vectors.T
        near = np.maximum.reduceat(scores, self.starts, axis=1).mean(0) + self.ahead
        found = {}
        nearest = np.argsort(-np.where(fit, near, -np.inf))[: min(FEW, fit.sum())]
        for n in nearest.tolist():
            own = scores[:, slice(*np.append(self.starts, len(self.prompts))[n : n + 2])]
            best = np.argsort(-own, axis=1)[:, :PROMPTS] + self.starts[n]
            found[n] = np.unique(best).tolist()
        return found


def nearest_relations(
    embed: Embed, asked: Sequence[Sequence[str]], targets: Sequence[str] | None = None
) -> list[Nearest]:
    """The relation nearest to the templates of each edit: its prompt's, then its paraphrases'.

    With the targets of the edits, only relations that can have such a value are taken. One for
    anything goes before one that is hardly nearer. A quicker embedder chooses a few relations for
    each edit, if there is one. Templates in another language are compared with the relation's
    wordings in it. The cosine is that of the prompt, or the mean of all if that is higher.
    """
    if not asked:
        return []
    quick: Embed = getattr(embed, "quick", embed)
    known = _Known.of(quick)
    asks = list(map(_Asked.of, asked, targets or repeat(None, len(asked))))
    forms = list(dict.fromkeys(form for ask in asks for form in ask.forms))
    vectors = dict(zip(forms, quick(forms), strict=True))
    fits = {
        key: np.array([_fits(own, *key) for own in known.relations])
        for key in {(ask.language, ask.unlike) for ask in asks}
    }
    chosen = {
        ask: known.first(np.stack([vectors[f] for f in ask.forms]), fits[ask.language, ask.unlike])
        for ask in dict.fromkeys(asks)
    }
    rows = sorted({row for few in chosen.values() for own in few.values() for row in own})
    read = dict(zip(rows, embed([known.prompts[row] for row in rows]), strict=True))
    vectors = dict(zip(forms, embed(forms), strict=True))
    found = {}
    for ask, few in chosen.items():
        own = np.stack([vectors[form] for form in ask.forms])
        near = {n: (own @ np.stack([read[row] for row in few[n]]).T).max(1) for n in few}
        best = max(near, key=lambda n: float(near[n].mean() + known.ahead[n]))
        relation, cosines = known.relations[best], near[best]
        if ask.language != ENGLISH:
            told = relation.translated.get(ask.language, [MASK])
            cosines = (own @ embed([text.replace(SLOT, MASK) for text in told]).T).max(1)
        found[ask] = Nearest(relation, float(max(cosines[0], cosines.mean())), ask.language)
    return [found[ask] for ask in asks]


def _fits(relation: Relation, language: str, unlike: frozenset[str]) -> bool:
    """Whether a relation may lend to an edit in a language whose target cannot be these values.

    In other languages targets are not looked at, and a relation for anything that nobody has
    translated would only hide one that is.
    """
    if language == ENGLISH:
        return relation.value not in unlike
    return relation.kind != ANYTHING or language in relation.translated


def masked(form: str) -> str:
    """A template as the embedder compares it: a pronoun stands for the entity."""
    return _ENTITY.sub(MASK, form)
