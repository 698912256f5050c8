"""How a training run tells what it does: it is handed somebody to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from lks.json_record import KeptRecord

OnProgress = Callable[[str, int, int], None]  # told a stage, what is done of it, and of how much


@dataclass(frozen=True)
class Epoch(KeptRecord):
    """What one epoch did: mean losses (nats) over all edits, each as last read.

    `number` counts from 1; `tail` is set if only edits not learnt were read. `seconds` is what it
    took.
    """

    number: int
    of: int
    reliability: float
    generality: float
    locality: float
    distilled: float = 0.0
    tail: bool = False
    seconds: float = field(default=0.0, compare=False)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Epoch:
        if "finishing" in record:  # its name in early checkpoints
            rest = {key: value for key, value in record.items() if key != "finishing"}
            record = {**rest, "tail": record["finishing"]}
        return super().from_json(record)


class Progress(Protocol):
    """Told what happens; `shown()` is held while it does, as a bar must be cleared in the end."""

    def shown(self) -> AbstractContextManager[object]: ...

    def note(self, text: str) -> None:
        """A line worth reading."""
        ...

    def stage(self, name: str, done: int, of: int) -> None:
        """How many texts of a stage are read, or steps trained."""
        ...

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is over."""
        ...


class Silence(AbstractContextManager[None]):
    """Tells nobody."""

    def shown(self) -> Silence:
        return self

    def __exit__(self, *raised: object) -> None: ...
    def note(self, text: str) -> None: ...
    def stage(self, name: str, done: int, of: int) -> None: ...
    def epoch(self, epoch: Epoch) -> None: ...
