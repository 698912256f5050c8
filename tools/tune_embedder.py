"""Tune the default sentence embedder on the bank of wordings: first `use`, then `minilm`.

    python tools/tune_embedder.py use                          # writes the package's file anew
    python tools/tune_embedder.py minilm
    python tools/tune_embedder.py use --held-out 0.17 --out try.safetensors    # and measures it

An encoder learns that two wordings of one relation ask the same, and that texts which only look
alike do not. Embeddings of word pieces stay; all other weights learn. The changes are written in
eight bits, as `lks.model.use` and `lks.model.duo` read them; with those of `minilm` a linear map
that makes its vectors of those of `use`, for languages that it does not know.

It takes half an hour on two cores with bfloat16 units. The same seed, steps, bank, machine and
number of threads give the same file.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from _minilm import MiniLMEncoder
from _use import USEEncoder
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lks.edits.edit import SLOT
from lks.files import write_whole
from lks.model import duo, use
from lks.scope.bank.relations import ANYTHING, REGISTERS, Relation, bank
from lks.scope.gate.questions import MASK

Array = NDArray[np.float32]

OUT = Path(__file__).parent.parent / "src" / "lks" / "model"
RELATIONS, WORDINGS, NEAR = 32, 5, 3  # a step: relations, and texts of each
FRAMED, TRANSLATED = 0.25, 0.35  # shares of the wordings
TASKS, STATED = 0.3, 0.2  # of the relations, with such a text among the near ones
WARM_UP, SCALE_RATE = 50, 1e-2  # in steps; of learning the logits' scale
SCALE = 15.0  # of the cosines, to begin with; it is learnt too
RIDGE = 1e-4  # a text
HARDER = 0.5  # added to the logits of an anchor's own near texts

# `asks`: how people write around a question, which stays that question. `tasks`: around one that
# is not asked, but to be translated, counted, forgotten. `values`: what ends a statement, by kind.
WRITTEN: dict[str, Any] = json.loads(
    Path(__file__).with_name("frames.json").read_text(encoding="utf-8")
)


def masked(text: str) -> str:
    """As the relation gate sees it."""
    return text.replace(SLOT, MASK).strip()


def noisy(text: str, rng: random.Random) -> str:
    """A text as somebody in a hurry may write it."""
    text = text.lower() if rng.random() < 0.15 else text
    if rng.random() < 0.1:
        text = text.rstrip("?.")
    if rng.random() < 0.15:
        text = misspelt(text, rng)
    return framed(text, WRITTEN["asks"], rng) if rng.random() < FRAMED else text


def framed(text: str, frames: Sequence[str], rng: random.Random) -> str:
    return rng.choice(frames).replace(SLOT, text)


def stated(relation: Relation, rng: random.Random) -> str:
    """A statement that asks for nothing: a beginning, with any value of the kind wanted."""
    values = WRITTEN["values"].get(relation.value) or WRITTEN["values"]["thing"]
    return f"{rng.choice(relation.asked['completion'])} {rng.choice(values)}."


def misspelt(text: str, rng: random.Random) -> str:
    """Two letters swapped, one left out or one twice; the first letter stays."""
    places = [i for i in range(1, len(text) - 2) if text[i : i + 2].isalpha()]
    if not places:
        return text
    at = rng.choice(places)
    one, two = text[at], text[at + 1]
    return text[:at] + rng.choice((two + one, two, one + one + two)) + text[at + 2 :]


def loss_of(vectors: Tensor, relation: Tensor, near: Tensor, scale: Tensor) -> Tensor:
    """Supervised contrastive loss: each wording is nearer to each other wording of its relation
    than to all that asks for another thing.

    Args:
        vectors: [n, w], of unit length.
        relation, near: [n]: the number of a text's relation, and whether it only looks like it.
        scale: of the cosines.
    """
    anchors = (~near).nonzero()[:, 0]
    logits = (vectors[anchors] @ vectors.T) * scale  # [anchors, n]
    of_relation = relation[anchors][:, None] == relation
    itself = anchors[:, None] == torch.arange(len(relation))
    same = of_relation & ~near & ~itself
    logits = logits + HARDER * (of_relation & near)
    against = logits.masked_fill(same | itself, -math.inf).logsumexp(1, keepdim=True)
    return F.softplus(against - logits)[same].mean()


def texts_of(
    relations: Sequence[Relation], rng: random.Random, translated: float = TRANSLATED
) -> tuple[list[str], Tensor, Tensor]:
    """Some texts of each relation, with what `loss_of` wants to know of them.

    Args:
        translated: share of the wordings that are in another language than English.
    """
    rows: list[tuple[str, int, bool]] = []
    for number, own in enumerate(relations):
        english = [*chain.from_iterable(own.asked.values()), *own.follow_up]
        others = [*chain.from_iterable(own.translated.values())] if translated else []
        abroad = sum(rng.random() < translated for _ in range(WORDINGS)) if others else 0
        asked = [*rng.sample(others, abroad), *rng.sample(english, WORDINGS - abroad)]
        near = [noisy(masked(text), rng) for text in rng.sample(own.near, NEAR)]
        if rng.random() < TASKS:
            near[0] = framed(masked(rng.choice([*english, *others])), WRITTEN["tasks"], rng)
        if rng.random() < STATED:
            near[1] = masked(stated(own, rng))
        rows += [(noisy(masked(text), rng), number, False) for text in asked]
        rows += [(text, number, True) for text in near]
    texts, relation, near_ones = zip(*rows, strict=True)
    return list(texts), torch.tensor(relation), torch.tensor(near_ones)


class Learns(Protocol):
    """An encoder with weights that learn; `base` are those that it had, `rate` is of learning."""

    weights: Mapping[str, nn.Parameter]
    base: Mapping[str, Array]
    rate: float
    english: bool  # it knows no other language

    def __call__(self, texts: Sequence[str]) -> Tensor: ...
    def encode(self, texts: Sequence[str]) -> Array: ...


def to_tell_apart() -> list[Relation]:
    """The bank without the relations for anything, which ask the same as others of it."""
    return [own for own in bank() if own.kind != ANYTHING]


def tune(
    encoder: Learns,
    relations: Sequence[Relation],
    steps: int,
    seed: int = 0,
    told: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Change the encoder's weights.

    Args:
        told: called after each step with its number, from 1 on, and its loss.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    domains: defaultdict[str, list[Relation]] = defaultdict(list)
    for own in relations:
        domains[own.domain].append(own)
    scale = torch.tensor(math.log(SCALE), requires_grad=True)
    weights = list(encoder.weights.values())
    groups = [{"params": weights, "lr": encoder.rate}, {"params": [scale], "lr": SCALE_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    rates = LambdaLR(
        optimizer,
        [lambda step: min(1.0, (step + 1) / WARM_UP) * (1 - step / steps), lambda step: 1.0],
    )
    for step in range(1, steps + 1):
        # Half of the steps within a domain, whose relations are the hardest to tell apart.
        pool = rng.choice(list(domains.values())) if step % 2 else relations
        chosen = rng.sample(pool, min(RELATIONS, len(pool)))
        texts, relation, near = texts_of(chosen, rng, 0.0 if encoder.english else TRANSLATED)
        loss = loss_of(encoder(texts), relation, near, scale.exp())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        rates.step()
        told(step, loss.item())


def packed(encoder: Learns) -> dict[str, NDArray[Any]]:
    """What was added to each weight: int8, and a float32 scale for each column."""
    found: dict[str, NDArray[Any]] = {}
    for name, weight in encoder.weights.items():
        change = weight.detach().numpy() - encoder.base[name]
        scale = np.maximum(np.abs(change).max(0, keepdims=True) / 127, 1e-12).astype(np.float32)
        found[name] = np.round(change / scale).astype(np.int8)
        found[f"{name}.scale"] = scale
    return found


def map_between(one: Array, other: Array) -> NDArray[np.float16]:
    """The linear map from some vectors to others of the same texts, by least squares with a
    small ridge: [n, v], [n, w] -> [v, w]."""
    ridge = RIDGE * len(one) * np.eye(one.shape[1], dtype=np.float32)
    found: NDArray[np.float16] = np.linalg.solve(one.T @ one + ridge, one.T @ other).astype("f2")
    return found


def measured(encoder: Learns, relations: Sequence[Relation]) -> dict[str, float]:
    """How well relations are told apart by their first completion, as the only prompt of an edit.

    AUC of their wordings against their near texts, and against wordings of other relations of the
    domain; and at the best threshold, the shares that fire, by register.
    """
    kinds = (*REGISTERS, "follow_up", "near")
    rows = [
        (number, kind, masked(text))
        for number, own in enumerate(relations)
        for kind in kinds
        for text in {**own.asked, "follow_up": own.follow_up, "near": own.near}[kind]
    ]
    vectors = encoder.encode([text for *_, text in rows])
    relation, kind = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    domain = np.array([own.domain for own in relations])[relation]
    scores: defaultdict[str, list[Array]] = defaultdict(list)
    for number, own in enumerate(relations):
        mine = relation == number
        prompt = int(np.flatnonzero(mine & (kind == "completion"))[0])
        cosines = vectors @ vectors[prompt]
        rest = mine & (np.arange(len(rows)) != prompt)
        for each in kinds:
            scores[each].append(cosines[rest & (kind == each)])
        scores["other"].append(cosines[~mine & (kind != "near") & (domain == own.domain)])
    joined = {name: np.concatenate(parts) for name, parts in scores.items()}
    asked = np.concatenate([joined[each] for each in kinds if each != "near"])

    def fire(least: float) -> dict[str, float]:
        return {name: _share(own >= least) for name, own in joined.items()}

    def worth(least: float) -> float:
        return _share(asked >= least) - (fire(least)["near"] + fire(least)["other"]) / 2

    best = max(np.linspace(0, 1, 101).tolist(), key=worth)
    areas = {f"AUC, {name}": auc(asked, joined[name]) for name in ("near", "other")}
    return {**areas, "threshold": best} | {f"fire, {k}": v for k, v in fire(best).items()}


def auc(above: Array, below: Array) -> float:
    """How often one of `above` is the higher of two; 0.5 where there is nothing to compare."""
    ordered = np.sort(below)
    lower, upper = (np.searchsorted(ordered, above, side) for side in ("left", "right"))
    pairs = len(above) * len(below)
    return float((lower + upper).sum() / 2 / pairs) if pairs else 0.5


def _share(found: NDArray[np.bool_]) -> float:
    return float(found.mean()) if len(found) else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("part", choices=("use", "minilm"))
    parser.add_argument("--steps", type=int, help="1,600, or 800 of minilm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--held-out", type=float, default=0.0, metavar="SHARE", help="of relations, to measure on"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    minilm = options.part == "minilm"
    steps = (800 if minilm else 1_600) if options.steps is None else options.steps
    out = options.out or OUT / (duo.TUNING if minilm else use.TUNING)
    if steps < 1:
        parser.error(f"--steps {options.steps}: give 1 or more")
    if not 0 <= options.held_out < 1:
        parser.error(f"--held-out {options.held_out}: give a share from 0 to below 1")
    if not out.absolute().parent.is_dir():
        parser.error(f"--out {out}: there is no such folder")
    relations = to_tell_apart()
    random.Random(options.seed).shuffle(relations)
    kept = round(options.held_out * len(relations))
    held, learnt = relations[:kept], relations[kept:]
    encoder: Learns = MiniLMEncoder() if minilm else USEEncoder()
    if held:
        report("before", measured(encoder, held))
    losses: list[float] = []

    def told(step: int, loss: float) -> None:
        losses.append(loss)
        if step % 50 == 0:
            print(f"step {step}: loss {sum(losses[-50:]) / 50:.3f}", flush=True)

    tune(encoder, learnt, steps, options.seed, told)
    content = packed(encoder)
    if minilm:
        texts = [masked(text) for own in learnt for text in (*own.wordings, *own.near)]
        content[duo.MAP] = map_between(use.TunedUSE().encode(texts), encoder.encode(texts))
    write_whole(out, save(content))
    print(f"{out}: {len(learnt)} relations")
    if held:
        report("after", measured(encoder, held))


def report(when: str, found: Mapping[str, float]) -> None:
    print(f"{when}: " + "; ".join(f"{name} {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
