"""A thread of the server that works when there is something to do."""

from __future__ import annotations

import logging
from threading import Event, Thread

LOG = logging.getLogger("lks.serving")
LONGEST_PAUSE = 60.0  # seconds before what went wrong is tried again
STOP_SECONDS = 5.0  # that a stop waits for a thread to end


class Worker:
    """Calls `work` again and again, each time it is woken or its time has come.

    What goes wrong is told in the log, and does not end the thread.
    """

    name = "worker"

    def __init__(self) -> None:
        self._woken, self._stopped = Event(), Event()
        self._thread = Thread(target=self._run, name=f"lks-{self.name}", daemon=True)

    def work(self) -> float | None:
        """Do what there is to do; the seconds until there is more, None if nobody knows."""
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        """End the thread; it may have never begun."""
        self._stopped.set()
        self._woken.set()
        if self.alive:
            self._thread.join(STOP_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether it still works; for a while perhaps after a stop, too."""
        return self._thread.is_alive()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def _run(self) -> None:
        failures = 0
        while not self.stopped:
            self._woken.clear()
            try:
                seconds, failures = self.work(), 0
            except Exception:
                LOG.exception("%s: something went wrong", self.name)
                seconds, failures = min(2.0**failures, LONGEST_PAUSE), failures + 1
            if not self.stopped:
                self._woken.wait(seconds)
