"""Training that was stopped goes on after its last pass."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Sequence

import torch
from torch import nn

from lks.models import cache_dir
from lks.versions import write_whole

LONG = 60.0  # seconds of training, from which on it is kept


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
        name = hashlib.sha256(repr(decided_by).encode()).hexdigest()[:24]
        self._file = cache_dir() / "tuning" / f"{name}.pt"
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
        content = io.BytesIO()
        torch.save(
            {
                "parameters": [parameter.data for parameter in self._parameters],
                "optimizer": self._optimizer.state_dict(),
                "losses": self.losses,
                "seconds": seconds,
            },
            content,
        )
        with contextlib.suppress(OSError):  # a full disk is no reason to stop
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, content.getvalue())

    def end(self) -> None:
        """Call it when all is done."""
        with contextlib.suppress(OSError):
            self._file.unlink()
