"""How a training run tells what it does: it is handed somebody to tell."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lks.training.trainer import Epoch


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
