"""What the engines share: requests that can be written, and the way of their steps to who waits."""

from __future__ import annotations

import logging
from queue import Queue
from threading import RLock

from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.serving.front import Watched
from lks.serving.protocol import Blocks, Deliver, Engine, EngineFailure, EngineRequest, Step

_log = logging.getLogger(__name__)


class Delivery:
    """A text that is not finished. Its lock orders what is delivered, and its end."""

    def __init__(self, request: EngineRequest, deliver: Deliver) -> None:
        self.request = request
        self.begun = False
        self._deliver, self._over, self._lock = deliver, False, RLock()

    def give(self, step: Step | EngineFailure) -> bool:
        """Deliver a step; whether the text goes on."""
        with self._lock:
            if not self._over:
                self._over = isinstance(step, EngineFailure) or step.finish is not None
                try:
                    self._deliver(step)
                except Exception:
                    _log.exception("a text is given up: nobody takes it")
                    self._over = True
            return not self._over

    def end(self) -> None:
        """Deliver nothing any more."""
        with self._lock:
            self._over = True


class Coming:
    """The steps of a text that is begun, as they come.

    Args:
        watched: what looks through the text, if anything does.
    """

    def __init__(
        self, engine: Engine, request: EngineRequest, watched: Watched | None = None
    ) -> None:
        self._engine, self._watched = engine, watched
        self._begin(request)

    def _begin(self, request: EngineRequest) -> None:
        self._steps: Queue[Step | EngineFailure] = Queue()
        self._cancel = self._engine.submit(request, self._steps.put)

    def all(self, seconds: float | None = None) -> list[Step]:
        """The steps when the text has ended.

        Raises:
            EngineFailure: the engine could not go on.
            Empty: no step came within so many seconds.
        """
        steps = list[Step]()
        while not steps or steps[-1].finish is None:
            step = self._steps.get(timeout=seconds)
            if isinstance(step, EngineFailure):
                raise step
            told, anew = self._watched.take(step) if self._watched else ([step], None)
            steps += told
            if anew is not None:
                self._cancel()
                self._begin(anew)
        return steps


def check_request(backbone: Backbone, request: EngineRequest) -> None:
    """InputError for a prompt that the model cannot read, or blocks that belong nowhere."""
    if not request.ids:
        raise InputError("a prompt without a token; give at least one")
    backbone.check_lengths([len(request.ids)])
    if request.blocks is not None:
        _check_blocks(backbone, request.blocks, len(request.ids))


def _check_blocks(backbone: Backbone, blocks: Blocks, n: int) -> None:
    for layer in blocks.layers:
        backbone.layer(layer)
    if outside := [p for p in blocks.positions if not 0 <= p < n]:
        raise InputError(f"a block at token {outside[0]} of a prompt of {n} tokens")
    wanted = (len(blocks.positions), len(blocks.layers), backbone.width)
    if tuple(blocks.values.shape) != wanted:
        raise InputError(f"blocks of shape {tuple(blocks.values.shape)}, not {wanted}")
