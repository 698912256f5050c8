"""A lock that is taken in turns."""

from __future__ import annotations

from collections import deque
from threading import Lock, get_ident


class Turns:
    """A lock that threads get in the order in which they asked for it.

    `threading.RLock` goes to whoever is quickest: a thread that writes one text after the other
    takes it again before another one has woken up, and training beside it would stand still. As
    there, a thread that has it may take it again.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[tuple[int, Lock]] = deque()

    def __enter__(self) -> None:
        own = get_ident()
        with self._guard:
            if self._owner in (None, own):
                self._owner, self._depth = own, self._depth + 1
                return
            turn = Lock()
            turn.acquire()
            self._waiting.append((own, turn))
        try:
            turn.acquire()
        except BaseException:  # an interrupt: no turn must go to a thread that is gone
            with self._guard:
                if self._owner == own:
                    self._pass_on()
                else:
                    self._waiting.remove((own, turn))
            raise

    def __exit__(self, *raised: object) -> None:
        with self._guard:
            self._depth -= 1
            if not self._depth:
                self._pass_on()

    def _pass_on(self) -> None:
        """Give the lock to who has waited longest."""
        self._owner, self._depth = None, 0
        if self._waiting:
            self._owner, turn = self._waiting.popleft()
            self._depth = 1
            turn.release()
