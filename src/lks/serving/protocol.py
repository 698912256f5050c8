"""What every engine of the server takes and gives: token ids and blocks in, tokens out.

Which edits fire is decided before a request reaches an engine. So an engine knows neither edits nor
their scope, and what an answer tells of them is what was done. Where a text's own words fire more,
it is taken up anew as another request (`growing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the front is there before torch is
    from torch import Tensor

    from lks.model.engine.protocol import FinishReason


@dataclass(frozen=True, eq=False)
class Blocks:
    """What is put into the hidden states of one prompt: m places, k layers, width d.

    Attributes:
        positions: of tokens in the prompt, the first is 0.
        values: the blocks that belong there, [m, k, d], those of one place pooled.
        layers: of the decoder, whose outputs are changed.
        form, scale: how a block is put in, see `blocks.forms.put_in`; the scale of each layer.
    """

    positions: Sequence[int]
    values: Tensor
    layers: Sequence[int]
    form: str
    scale: Sequence[float]


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        max_tokens: at most so many are written.
        temperature: 0 takes the likeliest token each time.
        top_p: sampled are only the likeliest tokens that together have this probability.
        seed: of this request's own random numbers; the same one gives the same text.
        stop_ids: tokens that end the text; the last step has it.
        logprobs: how many of the likeliest tokens each step tells; None tells none at all.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None


@dataclass(frozen=True, eq=False)
class EngineRequest:
    """One text to write.

    Attributes:
        ids: the prompt's tokens.
        blocks: None where nothing fires; then the text is the unedited model's, token for token.
        targets: what the text says whole once it has begun it (`model.engine.guard`).
        written: how many of the last `ids` are of the text itself, which is taken up anew.
    """

    ids: Sequence[int]
    sampling: Sampling
    blocks: Blocks | None = None
    targets: Sequence[str] = ()
    written: int = 0


@dataclass(frozen=True)
class Step:
    """One token.

    Attributes:
        logprob: its natural log-probability, as the model has it: before temperature, top_p and
            the guard. None if not asked for.
        top: the likeliest tokens and theirs, the likeliest first.
        finish: why the text ends here; None before its last token.
    """

    token: int
    logprob: float | None = None
    top: Sequence[tuple[int, float]] = ()
    finish: FinishReason | None = None


class EngineFailure(Exception):
    """The engine could not go on with a request: its message is for the server's log."""


Deliver = Callable[[Step | EngineFailure], None]


@dataclass(frozen=True)
class Load:
    """What an engine has to do: requests that are being written, and that wait."""

    running: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Scored:
    """A token of a prompt: its log-probability behind those before it, and the likeliest there.

    The first one of a text has none.
    """

    token: int
    logprob: float | None
    top: Sequence[tuple[int, float]] = field(default=())


class Engine(Protocol):
    """Writes many texts at once. Any thread may call it."""

    @property
    def context(self) -> int | None:
        """How many tokens prompt and text may have together; None without a limit."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it writes: not before `start`, nor when it has stopped by itself."""
        ...

    def start(self) -> None:
        """Get ready. LKSError if this model cannot be served so."""
        ...

    def close(self) -> None:
        """Stop; texts that are being written end with an `EngineFailure`."""
        ...

    def submit(self, request: EngineRequest, deliver: Deliver) -> Callable[[], None]:
        """Begin a text.

        Args:
            deliver: called in a thread of the engine with each step, the last of which has
                `finish`, or with what went wrong, and then no more. It must return at once.

        Returns:
            What ends the text early: nothing is delivered after it has returned.
        """
        ...

    def score(self, request: EngineRequest) -> list[Scored]:
        """The prompt's tokens under the model with the request's blocks in; nothing is written."""
        ...

    @property
    def load(self) -> Load: ...
