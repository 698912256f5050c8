"""Reading training texts once: what the suffix engine needs of each.

Many texts begin alike: a chat template's system turn, a question's words before the subject. Such
a stem is read once, and its keys and values are shared by all texts that begin with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from lks.model.engine.batching import Suffix, padded
from lks.model.engine.caches import lend_length
from lks.model.engine.tensor_store import TensorStore
from lks.model.offsets import common_start

if TYPE_CHECKING:
    from lks.model.engine.split_model import SplitModel

TEXTS_A_READING = 64
PREFIXES_A_READING = 512
LENGTH_STEP = 2  # lengths are padded to multiples of this
LEAD = 8  # tokens that all texts must have in common to be read once for all


class CachedLayer(Protocol):
    """Keys and values of one layer in transformers' cache, [texts, heads, tokens, w] each."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True)
class TextRow:
    """A tokenised text with token indices: where mentions end, and from where tokens count.

    An encoder-decoder's encoder reads `ids` and its decoder `written`, in which `scored` counts.
    """

    ids: list[int]
    places: list[int]
    scored: list[int]
    prefix: int = 0  # tokens that may be shared with other texts; before the first place
    final: bool = False  # whether the unedited decoder's outputs are wanted
    continued: int = 0  # append so many tokens of the model's own greedy continuation, scored too
    written: list[int] | None = None
    stated: list[int] | None = None  # for the feature, the text that states the edit, if not `ids`


def predicted(ids: list[int], first: int, stop: int | None) -> tuple[list[int], list[int]]:
    """Where the tokens from index `first` on are predicted; and they, with `stop` if given."""
    labels = ids[first:] if stop is None else [*ids[first:], stop]
    return [first - 1 + i for i in range(len(labels))], labels


@dataclass(frozen=True)
class _Prefix:
    """Tokens read: keys and values, [layers, 2, heads, any, w] a part, below and above the cut."""

    tokens: tuple[int, ...] = ()
    lower: tuple[Tensor, ...] = ()
    upper: tuple[Tensor, ...] = ()


@torch.no_grad()
def prefill(
    split: SplitModel,
    rows: Sequence[TextRow],
    store: TensorStore | None = None,
    on_read: Callable[[int], None] = lambda done: None,
) -> list[Suffix]:
    """Suffixes of texts, in their order; `on_read` is told how many are done.

    Raises:
        InputError: a text has more tokens than the model reads.
    """
    split.backbone.check_lengths([len(row.ids) + row.continued for row in rows])
    store = store or TensorStore()
    found: dict[int, Suffix] = {}
    for prefixes in _by_prefix(split, rows, store):
        rest = {i: len(rows[i].ids) - len(prefix.tokens) for i, prefix in prefixes.items()}
        for batch in batches(rows, rest):
            chosen = [rows[i] for i in batch]
            with split.backbone.in_use:  # one turn for all passes of the batch
                made = _read_batch(split, chosen, [prefixes[i] for i in batch], store)
            found.update(zip(batch, made, strict=True))
            on_read(len(found))
    return [found[i] for i in range(len(rows))]


def _by_prefix(
    split: SplitModel, rows: Sequence[TextRow], store: TensorStore
) -> Iterator[dict[int, _Prefix]]:
    """The stem of each row, some rows at a time: below the cut only their stems are in memory."""
    wanted = [tuple(row.ids[: row.prefix]) for row in rows]
    lead = common_start(wanted)
    begun = _Prefix()
    if len(lead) >= LEAD:
        begun = _read_prefixes(split, [lead], begun, store)[lead]
    often = Counter(wanted)
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, prefix in enumerate(wanted):
        shared = len(prefix) > len(begun.tokens) and often[prefix] > 1
        groups[prefix if shared else begun.tokens].append(i)
    keys = sorted(groups)
    for start in range(0, len(keys), PREFIXES_A_READING):
        some = keys[start : start + PREFIXES_A_READING]
        longer = [key for key in some if key != begun.tokens]
        prefixes = {begun.tokens: begun} | _read_prefixes(split, longer, begun, store)
        yield {i: prefixes[key] for key in some for i in groups[key]}


def _read_prefixes(
    split: SplitModel, keys: Sequence[tuple[int, ...]], begun: _Prefix, store: TensorStore
) -> dict[tuple[int, ...], _Prefix]:
    """Stems that all begin with `begun`, and go on."""
    prefixes = {}
    k, keys = len(begun.tokens), sorted(keys, key=len)
    for start in range(0, len(keys), TEXTS_A_READING):
        chunk = keys[start : start + TEXTS_A_READING]
        reading = _Reading(split, [begun] * len(chunk), [key[k:] for key in chunk])
        reading.read()
        for i, key in enumerate(chunk):
            lower = reading.lower_past(i, len(key) - k)
            upper = store.put(reading.upper_past(i, len(key) - k))
            prefixes[key] = _Prefix(key, (*begun.lower, lower), (*begun.upper, upper))
    return prefixes


def batches(rows: Sequence[TextRow], rest: dict[int, int]) -> Iterator[list[int]]:
    """Rows of one kind with about equally much left to read, and exactly so if they go on."""
    kinds: dict[tuple[int, bool, int], list[int]] = defaultdict(list)
    for i in sorted(rest, key=lambda i: rest[i]):
        continued = rows[i].continued
        kinds[continued, rows[i].final, rest[i] if continued else 0].append(i)
    for members in kinds.values():
        for start in range(0, len(members), TEXTS_A_READING):
            yield members[start : start + TEXTS_A_READING]


def _read_batch(
    split: SplitModel, rows: Sequence[TextRow], prefixes: Sequence[_Prefix], store: TensorStore
) -> list[Suffix]:
    starts, firsts = [len(prefix.tokens) for prefix in prefixes], [min(row.places) for row in rows]
    own = [row.ids[start:] for row, start in zip(rows, starts, strict=True)]
    reading = _Reading(split, prefixes, own)
    final, continued = rows[0].final, rows[0].continued
    above = max(first - start for first, start in zip(firsts, starts, strict=True))
    reading.read(None if final else above)
    for _ in range(continued):
        reading.go_on()
    suffixes = []
    for i, (row, start, first) in enumerate(zip(rows, starts, firsts, strict=True)):
        end = len(row.ids) + continued
        appended = range(len(row.ids), end)
        scored = torch.tensor([*row.scored, *appended], device=split.device)
        past = reading.upper_past(i, first - start)
        suffixes.append(
            Suffix(
                states=store.put(reading.states[i, first - start : end - start].clone()),
                past=(*prefixes[i].upper, store.put(past)),
                places=torch.tensor(row.places, device=split.device) - first,
                scored=scored - first,
                final=store.put(reading.final[i, scored - start]) if final else None,
            )
        )
    return suffixes


class _Reading:
    """The whole model over texts, each of which goes on after a stem.

    Stems are padded on the left and masked; texts are padded on the right, where the tokens of a
    causal model do not look. Texts that go on are of one length: a gap would shift sliding windows.
    `states` and `final`, [b, t, d], are the outputs of layer l and of the decoder.
    """

    def __init__(
        self, split: SplitModel, prefixes: Sequence[_Prefix], texts: Sequence[Sequence[int]]
    ) -> None:
        self.split, device = split, split.device
        self._lower, self._upper = DynamicCache(), DynamicCache()
        before = torch.tensor([len(prefix.tokens) for prefix in prefixes], device=device)[:, None]
        self._start = padded(int(before.max()), LENGTH_STEP)
        self._mask = (torch.arange(self._start, device=device) >= self._start - before).long()
        if self._start:
            for i, (keys, values) in enumerate(
                self._stacked([prefix.lower for prefix in prefixes])
            ):
                self._lower.update(keys, values, i)
            lend_length(self._upper, keys[:, 0])
            above = self._stacked([prefix.upper for prefix in prefixes])
            for i, (keys, values) in enumerate(above, start=split.layer + 1):
                self._upper.update(keys, values, i)
        lengths = {len(text) for text in texts}
        width = max(lengths) if len(lengths) == 1 else padded(max(lengths), LENGTH_STEP)
        self._ids = torch.tensor(
            [[*text, *[text[-1]] * (width - len(text))] for text in texts], device=device
        )
        self._positions = before + torch.arange(width, device=device)

    def _stacked(self, prefixes: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Keys and values of all rows, [layers, 2, b, heads, k, w]."""
        n, _, heads, _, w = next(part for parts in prefixes for part in parts).shape
        shape = (n, 2, len(prefixes), heads, self._start, w)
        stacked = torch.zeros(shape, dtype=self.split.dtype, device=self.split.device)
        for row, parts in enumerate(prefixes):
            end = self._start
            for part in reversed(parts):
                stacked[:, :, row, :, end - part.shape[3] : end] = part
                end -= part.shape[3]
        return stacked

    def read(self, above: int | None = None) -> None:
        """Read the texts; the layers above the cut only over the first `above` tokens, if given."""
        mask = torch.cat([self._mask, torch.ones_like(self._ids)], 1)
        self.states = self.split.lower(self._ids, mask, self._positions, self._lower)
        width = self._ids.shape[1]
        above = width if above is None else min(padded(above, LENGTH_STEP), width)
        if above:
            self.final = self.split.upper(
                self.states[:, :above],
                mask[:, : self._start + above],
                self._positions[:, :above],
                self._upper,
            )
            lend_length(self._upper, self.states[:, :above])
        self._mask, self._positions = mask, self._positions[:, -1:]

    def go_on(self) -> None:
        """Read each text's most likely next token."""
        tokens = self.split.head(self.final[:, -1]).argmax(-1)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(tokens)], 1)
        self._positions = self._positions + 1
        states = self.split.lower(tokens, self._mask, self._positions, self._lower)
        final = self.split.upper(states, self._mask, self._positions, self._upper)
        lend_length(self._upper, states)
        self.states = torch.cat([self.states, states], 1)
        self.final = torch.cat([self.final, final], 1)

    def lower_past(self, i: int, n: int) -> Tensor:
        """Keys and values of text i's first n tokens below the cut, [l + 1, 2, heads, n, w]."""
        return self._past(self._lower.layers, i, n)

    def upper_past(self, i: int, n: int) -> Tensor:
        """The same above the cut."""
        return self._past(self._upper.layers[self.split.layer + 1 :], i, n)

    def _past(self, layers: Sequence[CachedLayer], i: int, n: int) -> Tensor:
        if not n or not layers:
            return self.states.new_zeros(len(layers), 2, 1, 0, 1)
        own = slice(self._start, self._start + n)
        return torch.stack(
            [torch.stack([kv.keys[i, :, own], kv.values[i, :, own]]) for kv in layers]
        )
