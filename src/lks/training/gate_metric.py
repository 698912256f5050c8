"""Training of the relation gate's metric, from the edits' own and lent wordings.

Two wordings of one edit shall be near; a wording and a locality prompt, or a wording of another
relation, shall be far. A logistic loss over pairs; the matrix starts at the identity, and stays it
where few edits tell what is near and what is far: the embedder knows what matters in a question.
With few edits the threshold is chosen on relations that the matrix was not learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lks.edits.edit import Edit
from lks.model.embedder import CachedEmbedder
from lks.scope.gate.metric import Array, Embed, Exemplars, Metric
from lks.scope.languages.en import open_ended_requests
from lks.scope.scope import Scope
from lks.training.prompts import TrainingPrompts

PAIRS, RATE = 256, 1e-3
LEAST_STEPS, MOST_STEPS = 100, 600  # a third of the edits: with few, much learning is overfitting
DIRECTIONS = 512  # as good as a whole matrix, at half of the cost
FOLDS, RELATIONS = 3, 20  # cross-validation, where there are so many relations
MANY = 300  # edits, from which it wins nothing
LEAST_EDITS = 80  # with paraphrases; with 40 the plain cosine is better
SHARED = 4  # edits of one relation: what else is asked of its entities are the other relations
OTHERS = 8  # so many wordings of other relations, where an edit has no locality prompts
OPEN_PAIRS = 32
LEAST_OPEN = 0.8  # "Where is it?" is near to "Who is it?", and asks for one fact
SLOPE, MIDDLE = 20.0, 0.6  # of the logistic curve over cosines, to begin with


def learn(
    embed: CachedEmbedder,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    *,
    metric: Metric | None = None,
    seed: int = 0,
) -> tuple[Metric, Exemplars]:
    """The metric for these edits, and their references.

    Args:
        prompts: of each edit, its own and lent ones.
        metric: take this one, learn none.
    """
    scope = Scope(edits)

    def questions(edit: Edit, texts: Sequence[str]) -> list[str]:
        return [scope.question(text, edit.id) for text in texts]

    pairs = list(zip(edits, prompts, strict=True))
    # A profile is fired by open-ended requests, whatever its own prompts are. What an edit takes
    # of a common relation teaches too: else two prompts for one relation would be pushed apart.
    asked = [
        () if edit.profile_of else (edit.prompt, *more.paraphrases, *more.common)
        for edit, more in pairs
    ]
    exemplars = [questions(edit, texts) for edit, texts in zip(edits, asked, strict=True)]
    if metric is None:
        others = [questions(edit, more.locality) for edit, more in pairs]
        paraphrased = [bool(more.paraphrases) for more in prompts]
        metric = train_metric(embed, exemplars, others, paraphrased, least=embed.same, seed=seed)
    negatives = [questions(edit, (*edit.negative, *edit.training_locality)) for edit in edits]
    if not any((*exemplars, *negatives)):
        return metric, Exemplars.none(len(metric.matrix))
    return metric, Exemplars.of(embed, exemplars, negatives)


def train_metric(
    embed: Embed,
    wordings: Sequence[Sequence[str]],
    others: Sequence[Sequence[str]],
    paraphrased: Sequence[bool],
    *,
    least: float,
    seed: int = 0,
) -> Metric:
    """A metric for edits with these masked wordings and locality prompts; there may be none.

    Args:
        paraphrased: whether some of an edit's wordings are its own, or lent by other edits; those
            of common relations are nearer to each other than what people write.
        least: its threshold where nothing is learnt.
    """
    open_ended = embed(open_ended_requests())
    identity = np.eye(open_ended.shape[1], dtype=np.float32)
    metric = Metric.of(identity, open_ended, least, LEAST_OPEN)
    pairs = _Pairs.of(wordings, others).told(paraphrased)
    if len(pairs.wordings) < LEAST_EDITS:
        return metric
    texts, requests = embed(pairs.texts), open_ended[: len(open_ended_requests(plain=True))]
    space = _Space.of(torch.from_numpy(np.concatenate([texts, requests])))

    def fitted(of: _Pairs) -> Metric:
        steps = min(max(len(pairs.wordings) // 3, LEAST_STEPS), MOST_STEPS)
        matrix = _fit(space, of, len(requests), steps, np.random.default_rng(seed))
        return Metric.of(matrix.numpy(), open_ended, least, LEAST_OPEN)

    whole = fitted(pairs)
    own, asked = whole(texts), whole(open_ended)
    folds = pairs.folds(seed) if len(pairs.wordings) < MANY else ()
    judged = [(fitted(learnt)(texts), rest) for learnt, rest in folds] or [(own, pairs)]
    near, far = zip(*(_scores(vectors, rest, seed) for vectors, rest in judged), strict=True)
    opened = _threshold(_nearest(asked), (own @ asked.T).max(1))
    return replace(
        whole,
        threshold=_threshold(np.concatenate(near), np.concatenate(far)),
        open_threshold=max(LEAST_OPEN, opened),
    )


@dataclass(frozen=True)
class _Pairs:
    """Texts by number, and for each edit the numbers of its wordings and locality prompts."""

    texts: list[str]
    wordings: list[list[int]]
    others: list[list[int]]
    relation: NDArray[np.int64]  # of each edit: edits that share a wording have one relation

    @classmethod
    def of(cls, wordings: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> _Pairs:
        number: dict[str, int] = {}

        def numbered(texts: Sequence[str]) -> list[int]:
            return [number.setdefault(text, len(number)) for text in dict.fromkeys(texts)]

        own = [numbered(texts) for texts in wordings]
        rest = [
            [k for k in numbered(texts) if k not in mine]
            for mine, texts in zip(own, others, strict=True)
        ]
        return cls(list(number), own, rest, _components(own, len(number)))

    def told(self, paraphrased: Sequence[bool]) -> _Pairs:
        """The edits that tell what is near and what is far: those with several wordings and
        locality prompts. Where these are too few, but many relations are shared by several
        paraphrased edits each, they tell it too: a wording is far from those of other relations.
        """
        near = np.array([len(own) > 1 for own in self.wordings], bool)
        told = near & np.array([bool(rest) for rest in self.others], bool)
        mine = near & np.array(paraphrased, bool)
        _, of, edits = np.unique(self.relation[mine], return_inverse=True, return_counts=True)
        if told.sum() < LEAST_EDITS and (edits >= SHARED).sum() >= RELATIONS:
            told[mine] |= edits[of] >= SHARED
        return self._only(np.flatnonzero(told))

    def folds(self, seed: int) -> Iterator[tuple[_Pairs, _Pairs]]:
        """The edits but for some relations, and those; of few relations none.

        Each relation is left out once.
        """
        relations = np.random.default_rng(seed).permutation(np.unique(self.relation))
        for part in np.array_split(relations, FOLDS) if len(relations) >= RELATIONS else ():
            out = np.isin(self.relation, part)
            yield self._only(np.flatnonzero(~out)), self._only(np.flatnonzero(out))

    def taken_for(self, seed: int) -> list[list[int]]:
        """Of each edit what it must not be taken for: its locality prompts, or, where it has none,
        some wordings of other relations."""
        rng = np.random.default_rng(seed)
        texts = [
            (own, k) for own, mine in zip(self.relation, self.wordings, strict=True) for k in mine
        ]
        relation, number = np.array(texts).T
        return [
            rest or rng.permutation(number[relation != own])[:OTHERS].tolist()
            for rest, own in zip(self.others, self.relation, strict=True)
        ]

    def _only(self, edits: NDArray[np.int64]) -> _Pairs:
        own, others = ([side[i] for i in edits.tolist()] for side in (self.wordings, self.others))
        return replace(self, wordings=own, others=others, relation=self.relation[edits])


@dataclass(frozen=True)
class _Space:
    """Vectors of the texts in their `DIRECTIONS` main directions, in which the metric is learnt.

    What it does beside them stays as it is: that learns as well as a whole matrix, at half
    of the cost. Shapes: directions [k, w], inside [n, k], outside [n, w].
    """

    directions: Tensor
    inside: Tensor
    outside: Tensor

    @classmethod
    def of(cls, vectors: Tensor) -> _Space:
        _, found = torch.linalg.eigh(vectors.T @ vectors)  # rising
        directions = found[:, -DIRECTIONS:].T.contiguous()
        inside = vectors @ directions.T
        return cls(directions, inside, vectors - inside @ directions)

    def cosines(self, matrix: Tensor, chosen: Tensor) -> Tensor:
        """Cosines of pairs of texts, [2, n], under a matrix of the main directions, [k, k]."""
        one, two = (
            torch.cat([self.inside[side] @ matrix.T, self.outside[side]], 1) for side in chosen
        )
        return F.cosine_similarity(one, two, dim=-1)

    def whole(self, matrix: Tensor) -> Tensor:
        """The same matrix for all directions, [w, w]."""
        width, k = self.outside.shape[1], len(matrix)
        return torch.eye(width) + self.directions.T @ (matrix - torch.eye(k)) @ self.directions


def _components(own: Sequence[Sequence[int]], count: int) -> NDArray[np.int64]:
    """One number for all edits that share texts, directly or through others."""
    parent = list(range(count))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for texts in own:
        for k in texts[1:]:
            parent[root(k)] = root(texts[0])
    return np.array([root(texts[0]) for texts in own], np.int64)


def _fit(space: _Space, pairs: _Pairs, n_open: int, steps: int, rng: np.random.Generator) -> Tensor:
    """M, [w, w], from the texts and then the open-ended requests."""
    with torch.enable_grad():
        matrix = torch.eye(len(space.directions), requires_grad=True)
        slope = torch.tensor(SLOPE, requires_grad=True)
        middle = torch.tensor(MIDDLE, requires_grad=True)
        optimizer = torch.optim.Adam(
            [
                {"params": [matrix], "lr": RATE},
                {"params": [slope], "lr": 100 * RATE},
                {"params": [middle], "lr": 10 * RATE},
            ]
        )
        for _ in range(steps):
            chosen, same = _sample(pairs, n_open, rng)
            logits = slope * (space.cosines(matrix, chosen) - middle)
            weight = torch.where(same > 0, 0.5 / same.sum(), 0.5 / (1 - same).sum())
            loss = F.binary_cross_entropy_with_logits(logits, same, weight, reduction="sum")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return space.whole(matrix.detach())


def _sample(pairs: _Pairs, n_open: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pairs of texts, [2, n], and whether they ask the same, [n]."""
    rows: list[tuple[int, int, float]] = []
    n, first = len(pairs.wordings), len(pairs.texts)
    chance = iter(rng.random(4 * PAIRS + 3 * OPEN_PAIRS).tolist())

    def any_of(texts: Sequence[int]) -> int:
        return texts[int(next(chance) * len(texts))]

    for i, j in rng.choice(n, size=(PAIRS, 2)).tolist():
        own = pairs.wordings[i]
        at = int(next(chance) * len(own))
        one, rest = own[at], own[:at] + own[at + 1 :]
        two = any_of(rest or own)
        if rest:
            rows.append((one, two, 1.0))
        if pairs.others[i]:
            rows.append((one, any_of(pairs.others[i]), 0.0))
        if pairs.relation[i] != pairs.relation[j]:
            rows.append((two, any_of(pairs.wordings[j]), 0.0))
    requests = range(first, first + n_open)
    for i in rng.choice(n, size=OPEN_PAIRS).tolist():
        one, two = any_of(requests), any_of(requests)
        if one != two:
            rows.append((one, two, 1.0))
        rows.append((one, any_of([*pairs.wordings[i], *pairs.others[i]]), 0.0))
    table = np.array(rows)
    return torch.from_numpy(table[:, :2].T.astype(np.int64)), torch.from_numpy(table[:, 2]).float()


def _scores(own: Array, pairs: _Pairs, seed: int) -> tuple[Array, Array]:
    """Scores of wordings against their edit's other wordings, and of what is another question."""
    both = list(zip(pairs.wordings, pairs.taken_for(seed), strict=True))
    near = [_nearest(own[mine]) for mine, _ in both]
    far = [(own[rest] @ own[mine].T).max(1) for mine, rest in both if rest]
    return np.concatenate(near), np.concatenate(far or [np.zeros(0, np.float32)])


def _nearest(vectors: Array) -> Array:
    """Highest cosine of each vector with another one."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    highest: Array = cosines.max(1)
    return highest


def _threshold(near: Array, far: Array) -> float:
    """Where the fewest are on the wrong side; the middle, where that is a range.

    Args:
        near, far: scores that shall reach the threshold, and that shall not.
    """
    candidates = np.linspace(0, 1, 201)
    wrong = np.array([_share(near < t) + _share(far >= t) for t in candidates])
    best = candidates[wrong <= wrong.min() + 1e-3]
    return round(float(np.median(best)), 3)


def _share(found: NDArray[np.bool_]) -> float:
    return float(found.mean()) if len(found) else 0.0
