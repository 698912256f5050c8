"""A server that only reads the store follows the one that writes it."""

from __future__ import annotations

from lks.serving.snapshots import Snapshots
from lks.serving.threads import Worker


class Reader(Worker):
    """Looks again and again what the writer has done."""

    name = "reader"

    def __init__(self, snapshots: Snapshots, seconds: float) -> None:
        super().__init__()
        self._snapshots, self._seconds = snapshots, seconds

    def work(self) -> float:
        self._snapshots.load_all()
        return self._seconds
