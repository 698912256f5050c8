"""Training of the relation gate's metric, from the edits' own and lent wordings.

Two wordings of one edit shall be near; a wording and a locality prompt, or a wording of another
relation, shall be far. Common relations (`scope.common`) stand beside the edits, for a few edits
say little of what matters in a question. A logistic loss over pairs; the matrix starts at the
identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lks.edits.edit import Edit
from lks.scope.gate.metric import Exemplars, Metric
from lks.scope.gate.prototypes import Array, Embed, common_relations
from lks.scope.languages.en import open_ended_requests
from lks.scope.scope import Scope
from lks.training.prompts import TrainingPrompts

PAIRS, RATE = 256, 1e-3
LEAST_STEPS, MOST_STEPS = 100, 300  # a third of the edits: with few, much learning is overfitting
EVEN = 40  # edits with which half is learnt from common relations; from 1,000 hardly anything
OPEN_PAIRS = 32
LEAST_OPEN = 0.8  # "Where is it?" is near to "Who is it?", and asks for one fact
SLOPE, MIDDLE = 20.0, 0.6  # of the logistic curve over cosines, to begin with


def learn(
    embed: Embed,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    *,
    metric: Metric | None = None,
    seed: int = 0,
) -> tuple[Metric, Exemplars]:
    """The metric for these edits, and their references.

    Args:
        embed: asked for some texts twice; `CachedEmbedder` reads them once.
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
        metric = train_metric(embed, exemplars, others, seed=seed)
    negatives = [questions(edit, (*edit.negative, *edit.training_locality)) for edit in edits]
    if not any((*exemplars, *negatives)):
        return metric, Exemplars.none(len(metric.matrix))
    return metric, Exemplars.of(embed, exemplars, negatives)


def train_metric(
    embed: Embed,
    wordings: Sequence[Sequence[str]],
    others: Sequence[Sequence[str]],
    *,
    seed: int = 0,
) -> Metric:
    """A metric for edits with these masked wordings and locality prompts; there may be none."""
    told = [i for i, own in enumerate(wordings) if own]
    common, common_others = common_relations()
    pairs = _Pairs.of(
        [*common, *(wordings[i] for i in told)], [*common_others, *(others[i] for i in told)]
    )
    useful = sum(len(set(wordings[i])) > 1 or bool(others[i]) for i in told)
    share = useful**2 / (useful**2 + EVEN**2)
    odds = [(1 - share) / len(common)] * len(common) + [share / max(len(told), 1)] * len(told)
    texts, open_ended = embed(pairs.texts), embed(open_ended_requests())
    requests = open_ended[: len(open_ended_requests(plain=True))]
    matrix = _fit(
        torch.from_numpy(np.concatenate([texts, requests])),
        pairs,
        np.array(odds),
        len(requests),
        min(max(useful // 3, LEAST_STEPS), MOST_STEPS),
        np.random.default_rng(seed),
    )
    fitted = Metric(matrix.numpy(), open_ended, threshold=1, open_threshold=1)
    own, asked = fitted(texts), fitted(open_ended)
    n = len(common)
    parts = [
        (1 - share, *_scores(own, pairs, slice(n))),
        (share, *_scores(own, pairs, slice(n, None))),
    ]
    requested = (1.0, _nearest(asked), (own @ asked.T).max(1))
    return replace(
        fitted, threshold=_threshold(parts), open_threshold=max(LEAST_OPEN, _threshold([requested]))
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


def _fit(
    vectors: Tensor,
    pairs: _Pairs,
    odds: NDArray[np.float64],
    n_open: int,
    steps: int,
    rng: np.random.Generator,
) -> Tensor:
    """M, [w, w], from vectors of the texts and then of the open-ended requests.

    Args:
        odds: with which each edit is drawn.
    """
    width = vectors.shape[1]
    with torch.enable_grad():
        matrix = torch.eye(width, requires_grad=True)
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
            chosen, same = _sample(pairs, odds, n_open, rng)
            one, two = (F.normalize(vectors[side] @ matrix.T, dim=-1) for side in chosen)
            logits = slope * ((one * two).sum(-1) - middle)
            weight = torch.where(same > 0, 0.5 / same.sum(), 0.5 / (1 - same).sum())
            loss = F.binary_cross_entropy_with_logits(logits, same, weight, reduction="sum")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return matrix.detach()


def _sample(
    pairs: _Pairs, odds: NDArray[np.float64], n_open: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Pairs of texts, [2, n], and whether they ask the same, [n]."""
    rows: list[tuple[int, int, float]] = []
    n, first = len(pairs.wordings), len(pairs.texts)
    chance = iter(rng.random(4 * PAIRS + 3 * OPEN_PAIRS).tolist())

    def any_of(texts: Sequence[int]) -> int:
        return texts[int(next(chance) * len(texts))]

    for i, j in rng.choice(n, size=(PAIRS, 2), p=odds).tolist():
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
    for i in rng.choice(n, size=OPEN_PAIRS, p=odds).tolist():
        one, two = any_of(requests), any_of(requests)
        if one != two:
            rows.append((one, two, 1.0))
        rows.append((one, any_of([*pairs.wordings[i], *pairs.others[i]]), 0.0))
    table = np.array(rows)
    return torch.from_numpy(table[:, :2].T.astype(np.int64)), torch.from_numpy(table[:, 2]).float()


def _scores(own: Array, pairs: _Pairs, edits: slice) -> tuple[Array, Array]:
    """Scores of wordings against their edit's other wordings, and of locality prompts."""
    near, far = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for mine, rest in zip(pairs.wordings[edits], pairs.others[edits], strict=True):
        if len(mine) > 1:
            near.append(_nearest(own[mine]))
        if rest:
            far.append((own[rest] @ own[mine].T).max(1))
    return np.concatenate(near), np.concatenate(far)


def _nearest(vectors: Array) -> Array:
    """Highest cosine of each vector with another one."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    highest: Array = cosines.max(1)
    return highest


def _threshold(parts: Sequence[tuple[float, Array, Array]]) -> float:
    """Where the fewest are on the wrong side; the middle, where that is a range.

    Args:
        parts: a weight, scores that shall reach the threshold, and scores that shall not.
    """
    candidates = np.linspace(0, 1, 201)
    wrong = np.array(
        [
            _mean((w, near < t) for w, near, _ in parts)
            + _mean((w, far >= t) for w, _, far in parts)
            for t in candidates
        ]
    )
    best = candidates[wrong <= wrong.min() + 1e-3]
    return round(float(np.median(best)), 3)


def _mean(parts: Iterable[tuple[float, NDArray[np.bool_]]]) -> float:
    """Weighted mean of the shares of those parts that have anything."""
    known = [(weight, float(found.mean())) for weight, found in parts if weight and len(found)]
    total = sum(weight for weight, _ in known)
    return sum(weight * share for weight, share in known) / total if known else 0.0
