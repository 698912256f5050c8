"""What every engine takes and gives: interventions, scores, texts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

from torch import Tensor

from lks.model.encoding import Encoding


class Positions(Protocol):
    """Where an editor changes states: a row and a column of the batch each, [n]."""

    @property
    def rows(self) -> Tensor: ...
    @property
    def columns(self) -> Tensor: ...


Intervention = Callable[[Encoding], AbstractContextManager[Positions | None]]
Options = ParamSpec("Options")
Result = TypeVar("Result")


class Written(str):
    """A text that a model wrote, without white space around it.

    Attributes:
        whole: with that.
        ended: whether the model ended it, and not the limit.
    """

    whole: str
    ended: bool

    @classmethod
    def of(cls, text: str, *, ended: bool) -> Written:
        own = cls(text.strip())
        own.whole, own.ended = text, ended
        return own


@dataclass(frozen=True)
class Score:
    """One (prompt, target) pair under teacher forcing, one entry for each target token.

    `tokens` are the target's ids, `predicted` what the model holds most likely in each place;
    `full`, if asked for, are the log-probabilities of all tokens there, [k, vocabulary].
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    predicted: tuple[int, ...]
    full: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def matches(self) -> tuple[bool, ...]:
        """Whether the greedy choice is the target's token."""
        return tuple(a == b for a, b in zip(self.tokens, self.predicted, strict=True))
