"""Targets said whole: once a text has begun the target of an edit that fired, the rest follows.

A model that has a fact half may state a value that looks right and is none: another digit in a
phone number, half of a rule. So while it writes, the last tokens of each text are compared with the
targets of the edits that fired in its prompt:

- where they are the beginning of a target, its next token follows;
- a target that was said is guarded again only where half of it is repeated, so that another number
  of the same text may begin like it;
- right behind a target no letter or digit follows: 0991 does not become 09912.

The first token of a text is drawn towards the targets' first ones: what begins wrongly is lost.
Elsewhere the model writes freely, and a target that it does not begin is not said. A text that is
taken up anew, since other edits have come into force in its middle, is one text from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lks.model.backbone import Backbone
from lks.model.encoding import Encoding
from lks.model.engine.protocol import Positions
from lks.model.offsets import tokens_from
from lks.model.untyped import Setting, Tokenizer

# A target is not begun by these alone: too many texts have them.
_FILLERS = frozenset(
    (
        *("a", "an", "the", "and", "or", "no", "it", "is", "dr", "mr", "ms"),
        *("as", "at", "by", "for", "from", "in", "not", "of", "on", "to", "up", "with"),
    )
)
START = 3.0  # nats that a target's first token gains at the beginning of a text


@dataclass(frozen=True)
class Target:
    """One way to write a target.

    Attributes:
        tokens: of the target, written so.
        ways: the tokens of each way to write it.
        least: how many of the tokens begin it at least.
        open_end: its last character is a letter or a digit, to which others might stick.
    """

    tokens: tuple[int, ...]
    ways: Sequence[tuple[int, ...]]
    least: int
    open_end: bool

    def follows(self, written: Sequence[int]) -> int:
        """How many of the last tokens of a text are the target's first ones, all of them counted;
        0 for fewer than begin it."""
        most = min(len(self.tokens), len(written))
        for size in range(most, 0, -1):
            if tuple(written[-size:]) == self.tokens[:size]:
                said = size < len(self.tokens) and self._said(written)
                least = max(self.least, -(-len(self.tokens) // 2)) if said else self.least
                return size if size >= least else 0
        return 0

    def _said(self, written: Sequence[int]) -> bool:
        return any(
            tuple(written[i : i + len(way)]) == way
            for way in self.ways
            for i in range(len(written) - len(way) + 1)
        )


class Words(Protocol):
    """What a guard asks of a model: `Backbone`, or a tokenizer alone."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def sticking_ids(self) -> Tensor:
        """Tokens that go on with the word or number before them, [k]."""
        ...


class TextGuard:
    """Keeps one text from leaving a target that it has begun.

    Args:
        targets: what is said whole.
    """

    def __init__(self, words: Words, targets: Sequence[str]) -> None:
        self._words, self._targets = words, [*_written(words, targets)]

    def __bool__(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self._targets)

    def __call__(self, written: Sequence[int], scores: Tensor) -> None:
        """Change the scores of what comes next, [vocabulary], in place.

        Args:
            written: all tokens of the text so far, without the prompt's.
        """
        if not written:
            scores[sorted({t.tokens[0] for t in self._targets if t.least == 1})] += START
            return
        found = [(target.follows(written), target) for target in self._targets]
        size = max(size for size, _ in found)
        if not size:
            return
        longest = [target for own, target in found if own == size]
        following = {t.tokens[size] for t in longest if size < len(t.tokens)}
        if len(following) == len({t.tokens[size : size + 1] for t in longest}):
            kept = torch.tensor(sorted(following), device=scores.device)
            allowed = scores[kept]
            scores.fill_(-torch.inf)
            scores[kept] = allowed
        elif any(t.open_end for t in longest if size == len(t.tokens)):
            stuck = self._words.sticking_ids.to(scores.device)
            goes_on = torch.tensor(sorted(following), dtype=stuck.dtype, device=scores.device)
            scores[stuck[~torch.isin(stuck, goes_on)]] = -torch.inf


class TargetGuard:
    """A logits processor for one batch; it keeps nothing between calls.

    Args:
        targets: of each text of the batch.
        starts: the column from which on the model has written, or writes, each of them.
    """

    def __init__(
        self, backbone: Backbone, targets: Sequence[Sequence[str]], starts: Sequence[int]
    ) -> None:
        self._starts = starts
        self._guards = [TextGuard(backbone, own) for own in targets]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores, [b * k, vocabulary], with each text repeated k times (beams)."""
        repeats = len(input_ids) // len(self._guards)
        scores = scores.clone()
        for row in range(len(input_ids)):
            text = row // repeats
            if guard := self._guards[text]:
                guard(input_ids[row, self._starts[text] :].tolist(), scores[row])
        return scores


def settings(
    backbone: Backbone,
    encoding: Encoding,
    places: Positions | None,
    given: Mapping[str, Setting],
) -> Mapping[str, Setting]:
    """The settings of a call to `generate` with a guard among them, where a text needs one."""
    if places is None or not any(places.targets):
        return given
    starts = [
        backbone.answer_start
        if backbone.kind == "encoder-decoder"
        else start + (len(offsets) if text.begun is None else tokens_from(offsets, text.begun))
        for text, offsets, start in zip(
            encoding.texts, encoding.offsets, encoding.starts, strict=True
        )
    ]
    own = TargetGuard(backbone, places.targets, starts)
    return {**given, "logits_processor": [*(given.get("logits_processor") or ()), own]}


def _written(words: Words, targets: Sequence[str]) -> Iterator[Target]:
    """Targets as tokens, as they are written at a text's beginning and behind a space."""
    for target in targets:
        own = target.strip()
        ways = [
            tuple(words.tokenizer(text, add_special_tokens=False).input_ids)
            for text in (own, f" {own}")
        ]
        for tokens in dict.fromkeys(ways):
            if len(tokens) > 1:
                yield Target(tokens, ways, _least(words, tokens), own[-1].isalnum())


def _least(words: Words, tokens: Sequence[int]) -> int:
    """How many tokens begin a target: up to the first that is more than a filler or a sign."""
    for size in range(1, len(tokens)):
        begun = words.tokenizer.decode(tokens[:size]).casefold()
        said = "".join(c if c.isalnum() else " " for c in begun).split()
        if any(word not in _FILLERS for word in said):
            return size
    return len(tokens) - 1
