"""What every engine takes and gives: interventions, scores, texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

from torch import Tensor

from lks.model.chat import Rendered
from lks.model.encoding import Encoding
from lks.scope.types import Finding


class Positions(Protocol):
    """Where an editor changes states: a row and a column of the batch each, [n].

    `findings` are what its scope found in each text of the batch, if it has one.
    """

    @property
    def rows(self) -> Tensor: ...
    @property
    def columns(self) -> Tensor: ...
    @property
    def findings(self) -> Sequence[Sequence[Finding]]: ...


Intervention = Callable[[Encoding], AbstractContextManager[Positions | None]]
Options = ParamSpec("Options")
Result = TypeVar("Result")


class Written(str):
    """A text that a model wrote, without white space around it.

    Attributes:
        whole: with that.
        ended: whether the model ended it, and not the limit.
        findings: mentions of edited entities in what the model read for it, and what fired there.
    """

    whole: str
    ended: bool
    findings: Sequence[Finding]

    @classmethod
    def of(cls, text: str, *, ended: bool, findings: Sequence[Finding] = ()) -> Written:
        own = cls(text.strip())
        own.whole, own.ended, own.findings = text, ended, findings
        return own


Findings = dict[Rendered, Sequence[Finding]]  # of each text that was read


def noting(intervention: Intervention, findings: Findings) -> Intervention:
    """The same intervention; what it finds in each text is put into `findings`."""

    @contextmanager
    def noted(encoding: Encoding) -> Iterator[Positions | None]:
        with intervention(encoding) as positions:
            if positions is not None:
                findings.update(zip(encoding.texts, positions.findings, strict=False))
            yield positions

    return noted


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
