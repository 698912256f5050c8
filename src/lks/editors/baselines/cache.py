"""Long work that was stopped goes on: training after its last pass, values after their portion."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from lks.files import cache_dir, write_whole

LONG = 60.0  # seconds of work, from which on it is kept


def kept(decided_by: object, make: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What `make` gives, from the cache folder if it was long work; and the seconds spent earlier.

    Args:
        decided_by: all that decides what `make` gives; its `repr` tells one from another.
    """
    file = _file("values", decided_by)
    if file.exists():
        found = torch.load(file, map_location="cpu", weights_only=True)
        return found["made"], found["seconds"]
    begun = time.monotonic()
    made = make()
    seconds = time.monotonic() - begun
    if seconds >= LONG:
        _write(file, {"made": made, "seconds": seconds})
    return made, 0.0


class Progress:
    """What a training has reached, in the cache folder until its end; nothing of a short one.

    Args:
        decided_by: all that decides how the training goes; its `repr` tells one from another.
        parameters, optimizer: what is trained and how; what was reached before is put there.

    Attributes:
        losses: of each pass that was done, its mean; add that of a new one before `keep`.
        seconds: done before.
    """

    def __init__(
        self,
        decided_by: object,
        parameters: Sequence[nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._file = _file("tuning", decided_by)
        self._parameters, self._optimizer = parameters, optimizer
        self.losses, self.seconds = list[float](), 0.0
        if self._file.exists():
            self._restore()
        self._begun = time.monotonic()

    def _restore(self) -> None:
        kept = torch.load(self._file, map_location=self._parameters[0].device, weights_only=True)
        for parameter, value in zip(self._parameters, kept["parameters"], strict=True):
            parameter.data.copy_(value)
        self._optimizer.load_state_dict(kept["optimizer"])
        self.losses, self.seconds = kept["losses"], kept["seconds"]

    def keep(self) -> None:
        """Call it after a pass."""
        seconds = self.seconds + time.monotonic() - self._begun
        if seconds < LONG:
            return
        _write(
            self._file,
            {
                "parameters": [parameter.data for parameter in self._parameters],
                "optimizer": self._optimizer.state_dict(),
                "losses": self.losses,
                "seconds": seconds,
            },
        )

    def end(self) -> None:
        """Call it when all is done."""
        with contextlib.suppress(OSError):
            self._file.unlink()


def _file(kind: str, decided_by: object) -> Path:
    made_by = version("latent-knowledge-scalpel")  # another release may do it in another way
    name = hashlib.sha256(repr((made_by, decided_by)).encode()).hexdigest()[:24]
    return cache_dir() / kind / f"{name}.pt"


def _write(file: Path, reached: Mapping[str, object]) -> None:
    content = io.BytesIO()
    torch.save(reached, content)
    with contextlib.suppress(OSError):  # a full disk is no reason to stop
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content.getvalue())
