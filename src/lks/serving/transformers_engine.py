"""The engine in the process of the server: transformers' own continuous batching.

Edited texts and others are read in one row. A hook at each edited layer puts the blocks of texts in
at their places; texts without blocks are read in the same step, and nothing is put into them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count

import torch
from torch import Tensor

from lks.blocks.bank import plan
from lks.errors import InputError, LKSError
from lks.model.backbone import Backbone
from lks.model.encoding import Encoding
from lks.model.engine.continuous import Chunk, ContinuousBatch, Limits
from lks.model.engine.hook import replacing
from lks.model.shared import shared
from lks.serving.delivery import Delivery, check_request
from lks.serving.probe import check
from lks.serving.protocol import Blocks, Deliver, EngineFailure, EngineRequest, Load, Scored
from lks.serving.sampling import Writing, next_steps, tops

SCORED_AT_ONCE = 256  # places whose logits are held at a time


class _Text(Delivery):
    def __init__(self, request: EngineRequest, deliver: Deliver, writing: Writing) -> None:
        super().__init__(request, deliver)
        self.writing = writing


class TransformersEngine:
    """Writes many texts at once with one model, in a thread of its own; see `Engine`.

    The model may be trained and asked elsewhere at the same time: the engine runs modules of its
    own over the same weights. How many threads torch computes with is up to whoever starts it.

    Args:
        limits: how much is done at once.
    """

    def __init__(self, backbone: Backbone, limits: Limits = Limits()) -> None:
        self._backbone, self._limits = backbone, limits
        self._texts: dict[str, _Text] = {}
        self._keys = count()
        self._own: Backbone | None = None
        self._batch: ContinuousBatch | None = None

    @property
    def context(self) -> int:
        own, cache = self._backbone.context, self._limits.cache_tokens
        return cache if own is None else min(own, cache)

    @property
    def alive(self) -> bool:
        """Whether texts are written: not before `start`, nor when the engine's thread has died."""
        return self._batch is not None and self._batch.alive

    @property
    def load(self) -> Load:
        begun = [text.begun for text in list(self._texts.values())]
        return Load(sum(begun), len(begun) - sum(begun))

    def start(self) -> None:
        """Get ready, and check on a few short texts that they come out as without the engine.

        Raises:
            LKSError: this model cannot be served so.
        """
        self._own = shared(self._backbone)
        packed = self._backbone.device.type == "cpu"
        self._batch = ContinuousBatch(self._own, self._limits, self, packed=packed)
        self._batch.start()
        try:
            check(self, self._backbone)
        except LKSError:
            self.close()
            raise

    def close(self) -> None:
        if self._batch is not None:
            self._batch.close()
            self._batch = None

    def submit(self, request: EngineRequest, deliver: Deliver) -> Callable[[], None]:
        """Begin a text; see `Engine`.

        A text is at most as long as the context leaves; then its end is "length".

        Raises:
            InputError: the prompt has no token, or more than the context.
            EngineFailure: the engine does not run.
        """
        most, stops = self._room(request), [*request.sampling.stop_ids]
        writing = Writing(self._backbone, request, most)
        key, text = str(next(self._keys)), _Text(request, deliver, writing)
        batch = self._batch
        if batch is None or not batch.alive:
            raise EngineFailure("the engine does not run")
        self._texts[key] = text
        begun = batch.add(key, request.ids, most, stops)
        if not begun or not batch.alive:  # its thread may have died before it saw the text
            self._fail(key, "the engine has stopped")

        def cancel() -> None:
            text.end()
            if self._texts.pop(key, None) is not None:
                batch.cancel(key)

        return cancel

    def score(self, request: EngineRequest) -> list[Scored]:
        """The prompt's tokens under the model with the request's blocks in; see `Engine`."""
        check_request(self._backbone, request)
        backbone, ids = self._backbone, list(request.ids)
        row = torch.tensor([ids], device=backbone.device)
        encoding = Encoding([], [], [0], row, torch.ones_like(row))
        most = request.sampling.logprobs or 0
        found = [Scored(ids[0], None)]
        whole = [(Chunk("", 0, 0, len(ids)), request.blocks)]
        with backbone.in_use, torch.no_grad(), _putting_in(backbone, whole):
            states = backbone.final_states(encoding)[0]
            for start in range(0, len(ids) - 1, SCORED_AT_ONCE):
                behind = ids[start + 1 : start + 1 + SCORED_AT_ONCE]
                logits = backbone.head(states[start : start + len(behind)]).float()
                told = tops(logits.log_softmax(-1), behind, most)
                found += [Scored(t, *own) for t, own in zip(behind, told, strict=True)]
        return found

    # --- what a step asks; in the engine's thread

    @contextmanager
    def around(self, chunks: Sequence[Chunk]) -> Iterator[None]:
        own = self._own
        assert own is not None
        parts = []
        for chunk in chunks:
            if (text := self._texts.get(chunk.key)) is not None:
                text.begun = True
                parts.append((chunk, text.request.blocks))
        with _putting_in(own, parts):
            yield

    def choose(self, keys: Sequence[str], logits: Tensor) -> Sequence[int]:
        texts = {key: text for key in keys if (text := self._texts.get(key)) is not None}
        rows = [row for row, key in enumerate(keys) if key in texts]
        tokens = [0] * len(keys)
        steps = next_steps([text.writing for text in texts.values()], logits[rows])
        for row, (key, text), step in zip(rows, texts.items(), steps, strict=True):
            tokens[row] = step.token
            if not text.give(step):
                self._texts.pop(key, None)
        for key in keys:
            if key not in self._texts and self._batch is not None:
                self._batch.cancel(key)  # of a finished text it does nothing
        return tokens

    def failed(self, key: str, error: Exception) -> None:
        self._fail(key, f"{type(error).__name__}: {error}")

    def stopped(self) -> None:
        for key in list(self._texts):
            self._fail(key, "the engine has stopped")

    # ---

    def _room(self, request: EngineRequest) -> int:
        """How many tokens are written behind a prompt, at most."""
        check_request(self._backbone, request)
        n, most, context = len(request.ids), request.sampling.max_tokens, self.context
        if most < 1:
            raise InputError(f"max_tokens is {most}; give at least 1")
        if n > context:
            raise InputError(
                f"the prompt has {n} tokens, and the engine holds {context}; shorten it, or give "
                "the engine a larger cache"
            )
        return min(most, context - n + 1)  # the last one is not read

    def _fail(self, key: str, reason: str) -> None:
        if (text := self._texts.pop(key, None)) is not None:
            text.give(EngineFailure(reason))


@contextmanager
def _putting_in(backbone: Backbone, parts: Sequence[tuple[Chunk, Blocks | None]]) -> Iterator[None]:
    """While this is open, blocks of texts are put in where a packed row has their places."""
    groups: dict[tuple[int, str, float], tuple[list[int], list[Tensor]]] = {}
    for chunk, blocks in parts:
        if blocks is None:
            continue
        here = [i for i, p in enumerate(blocks.positions) if 0 <= p - chunk.past < chunk.length]
        if here:
            at = [chunk.first + blocks.positions[i] - chunk.past for i in here]
            for number, (layer, scale) in enumerate(zip(blocks.layers, blocks.scale, strict=True)):
                columns, values = groups.setdefault((layer, blocks.form, scale), ([], []))
                columns += at
                values.append(blocks.values[here, number].to(backbone.device))
    with ExitStack() as stack:
        for (layer, form, scale), (columns, values) in groups.items():
            rows = [0] * len(columns)
            places = plan(1, rows, columns, torch.cat(values), form=form, scale=scale)
            stack.enter_context(replacing(backbone.layer(layer), places))
        yield
