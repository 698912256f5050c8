"""Training texts as an engine has read them, collated into batches of about one size."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor, nn

from lks.model.untyped import CausalLM

PREFIX_STEP, SUFFIX_STEP, TEXT_STEP = 16, 2, 2  # shapes are padded to multiples of these
PASS_TOKENS = 512  # at most so many in one pass through the upper half
PASS_COST = 64  # what a pass costs beside its tokens, in tokens


class Text(Protocol):
    """What a step needs of one text, whichever engine has read it."""

    states: Tensor  # [S, d] outputs of layer l
    places: Tensor  # [m] where in them the mentions end
    scored: Tensor  # [K] where a token is predicted that counts
    final: Tensor | None  # [K, d] the unedited decoder's outputs there, if they are wanted

    @property
    def feature(self) -> Tensor:
        """[d] of an edit's own text: the output of layer l at its last token."""
        ...

    @property
    def length(self) -> int:
        """How many tokens a pass reads of it, padded."""
        ...


@dataclass
class Suffix:
    """One text for the suffix engine: P tokens before the first mention's last one, S from it on.

    u layers lie above l; their attention has `heads` key-value heads of width w. Texts that begin
    alike share parts of their `past`. `places` and `scored` are counted in the suffix.
    """

    states: Tensor  # [S, d]
    past: tuple[Tensor, ...]  # [u, 2, heads, any, w] keys and values of the prefix, in parts
    places: Tensor  # [m]
    scored: Tensor  # [K]
    final: Tensor | None  # [K, d]

    @property
    def feature(self) -> Tensor:
        return self.states[-1]

    @property
    def length(self) -> int:
        return padded(len(self.states), SUFFIX_STEP)


@dataclass
class SuffixBatch:
    """Suffixes padded to one shape: prefixes on the left, suffixes on the right.

    b rows, P and S the padded lengths, M mentions and K scored places in all.
    """

    states: Tensor  # [b, S, d]
    past: Tensor  # [u, 2, b, heads, P, w]
    mask: Tensor  # [b, P + S]
    positions: Tensor  # [b, S]
    r: Tensor  # [M, d] float32
    rows: Tensor  # [M]
    columns: Tensor  # [M]
    scored_rows: Tensor  # [K]
    scored_columns: Tensor  # [K]


def collate(suffixes: Sequence[Suffix]) -> SuffixBatch:
    """One batch of suffixes; the row count is padded as well."""
    one = suffixes[0]
    parts = [[part for part in suffix.past if part.shape[3]] for suffix in suffixes]
    lengths = [sum(part.shape[3] for part in own) for own in parts]
    p_max = padded(max(lengths), PREFIX_STEP)
    s_max = max(suffix.length for suffix in suffixes)
    b, device = padded(len(suffixes), TEXT_STEP), one.places.device
    states = one.states.new_zeros(b, s_max, one.states.shape[-1], device=device)
    u, _, heads, _, w = next((part for own in parts for part in own), one.past[-1]).shape
    past = one.states.new_zeros(u, 2, b, heads, p_max, w, device=device)
    mask = torch.zeros(b, p_max + s_max, dtype=torch.long, device=device)
    mask[:, p_max] = 1  # a row of padding attends to itself
    prefix = torch.zeros(b, 1, dtype=torch.long, device=device)
    for row, suffix in enumerate(suffixes):
        p, s = lengths[row], len(suffix.states)
        states[row, :s] = suffix.states
        at = p_max - p
        for part in parts[row]:
            past[:, :, row, :, at : at + part.shape[3]] = part
            at += part.shape[3]
        mask[row, p_max - p : p_max + s] = 1
        prefix[row] = p
    rows, columns = ragged([suffix.places for suffix in suffixes])
    scored_rows, scored_columns = ragged([suffix.scored for suffix in suffixes])
    return SuffixBatch(
        states,
        past,
        mask,
        prefix + torch.arange(s_max, device=device),
        states[rows, columns].float(),
        rows,
        columns,
        scored_rows,
        scored_columns,
    )


def grouped(texts: Sequence[Text]) -> list[list[int]]:
    """Indices of texts, batched so that padding and the cost of passes are least together."""
    order = sorted(range(len(texts)), key=lambda i: -texts[i].length)
    best = [(0, 0)]  # of the first so many texts: the cost, and where the last batch starts
    for end in range(1, len(order) + 1):
        choices: list[tuple[int, int]] = []
        for start in range(end - 1, -1, -1):
            tokens = padded(end - start, TEXT_STEP) * texts[order[start]].length
            if tokens > PASS_TOKENS and choices:
                break
            choices.append((best[start][0] + PASS_COST + tokens, start))
        best.append(min(choices))
    batches: list[list[int]] = []
    while order:
        start = best[len(order)][1]
        batches.append(order[start:])
        del order[start:]
    return batches


def by_length(
    lengths: Mapping[int, int], batch_size: int, *, padded: bool = True
) -> Iterator[list[int]]:
    """Indices in batches of texts of about one length, so that little is padded.

    Args:
        lengths: in characters will do where texts are padded.
        padded: whether they may be; else texts of a batch are of one length.
    """
    order = sorted(lengths, key=lengths.__getitem__) if batch_size > 1 else list(lengths)
    for _, alike in groupby(order, lambda i: 0 if padded else lengths[i]):
        own = list(alike)
        for start in range(0, len(own), batch_size):
            yield own[start : start + batch_size]


def filled(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and mask, [b, t] each; a row is filled up with its last token."""
    width = max(len(row) for row in rows)
    ids = [[*row, *[row[-1]] * (width - len(row))] if row else [] for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def ragged(lists: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(row of each entry, entries) of lists of places, one list a row."""
    lengths = torch.tensor([len(entries) for entries in lists], device=lists[0].device)
    rows = torch.arange(len(lists), device=lists[0].device).repeat_interleave(lengths)
    return rows, torch.cat(list(lists))


def cast(model: CausalLM, dtype: torch.dtype) -> CausalLM:
    """A frozen copy in another precision, without a second one in the model's own."""
    memo = {id(p): nn.Parameter(p.to(dtype), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, memo)


def padded(n: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-n // step) * step
