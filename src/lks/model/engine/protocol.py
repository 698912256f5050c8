"""What every engine takes and gives: interventions, scores, texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, ParamSpec, Protocol, TypedDict, TypeVar

import torch
from torch import Tensor

from lks.model.chat import Rendered
from lks.model.encoding import Encoding
from lks.scope.types import Finding


class Positions(Protocol):
    """Where an editor changes states: a row and a column of the batch each, [n].

    `findings` are what its scope found in each text of the batch, if it has one; `targets` are what
    a text written behind each of them must say whole once it has begun it, if there is any.
    """

    @property
    def rows(self) -> Tensor: ...
    @property
    def columns(self) -> Tensor: ...
    @property
    def findings(self) -> Sequence[Sequence[Finding]]: ...
    @property
    def targets(self) -> Sequence[Sequence[str]]: ...


Intervention = Callable[[Encoding], AbstractContextManager[Positions | None]]
Options = ParamSpec("Options")
Result = TypeVar("Result")


FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Generation:
    """What a model wrote after a prompt.

    Attributes:
        whole: the text with the white space around it.
        finish_reason: "stop" if the model ended it, "length" if the limit did; None if an editor
            does not tell.
        findings: mentions of edited entities in what the model read for it, and what fired there.
    """

    whole: str
    finish_reason: FinishReason | None = None
    findings: Sequence[Finding] = field(default=(), compare=False)

    @property
    def text(self) -> str:
        return self.whole.strip()

    @property
    def fired(self) -> tuple[str, ...]:
        """Ids of the edits that fired, each once."""
        mentions = [finding.mention for finding in self.findings if finding.mention.fired]
        return tuple(dict.fromkeys(edit_id for own in mentions for edit_id in own.edit_ids))


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


class ScoreOptions(TypedDict, total=False):
    """How pairs are scored.

    `chat` and `full` are as of `EditedModel.score`; `batch_size` is how many texts are read
    together, and `side` where the shorter ones are padded, "left" or "right".
    """

    chat: bool
    full: bool
    batch_size: int
    side: str


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


def scored(
    logits: Tensor, targets: Sequence[tuple[range, Sequence[int]]], *, full: bool
) -> list[Score]:
    """Scores of targets from the logits of all their places, [n, vocabulary].

    Args:
        targets: which of the places each has, and its tokens.
    """
    every, predicted = logits.log_softmax(-1), logits.argmax(-1).tolist()
    wanted = [pair for places, own in targets for pair in zip(places, own, strict=True)]
    chosen = torch.tensor(wanted, dtype=torch.long).reshape(-1, 2).to(every.device)
    logprobs, found = iter(every[chosen[:, 0], chosen[:, 1]].tolist()), list[Score]()
    for places, own in targets:
        span = slice(places.start, places.stop)
        found.append(
            Score(
                tuple(own),
                tuple(islice(logprobs, len(own))),
                tuple(predicted[span]),
                every[span].to("cpu", copy=True) if full else None,
            )
        )
    return found
