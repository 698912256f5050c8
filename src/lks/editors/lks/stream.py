"""A text in pieces, while the model writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import Self

import torch
from torch import Tensor

from lks.blocks.in_force import Placed
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.chat import Prompt, Rendered
from lks.model.detokenizer import Detokenizer
from lks.model.engine.generation import Stops, check
from lks.model.engine.protocol import FinishReason, Generation, Intervention
from lks.model.engine.transformers import generate_ids
from lks.model.untyped import Setting
from lks.scope.types import Finding


def stream(
    backbone: Backbone,
    prompt: Prompt,
    placed: Placed,
    chat: bool,
    max_new_tokens: int,
    settings: Mapping[str, Setting],
) -> Stream:
    """Begin to write behind a prompt; see `ScalpelModel.stream`."""
    check(max_new_tokens, settings)
    if "streamer" in settings:
        raise InputError("a stream has its own streamer; read its pieces instead")
    text = backbone.render(prompt, chat=chat)
    ids, offsets = backbone.tokenize(text, chat=chat)
    backbone.check_lengths([len(ids)], [text])
    findings, intervention = placed(text, offsets)
    given = {"chat": chat, "max_new_tokens": max_new_tokens, **settings}
    return Stream(_Writing(backbone, text, intervention, given), findings)


class Stream:
    """The pieces of one text, in order; they can be read once.

    `with` closes it at the end, and so does `close`: then the model writes no further.

    Attributes:
        findings: mentions of edited entities in the prompt, and what fired there.
        finish_reason: as of a `Generation`; None until the last piece was read.
    """

    def __init__(self, writing: _Writing, findings: Sequence[Finding]) -> None:
        self.findings = findings
        self.finish_reason: FinishReason | None = None
        self._writing = writing
        self._thread = Thread(target=writing.run, name="lks-stream", daemon=True)
        self._thread.start()

    @property
    def fired(self) -> tuple[str, ...]:
        """Ids of the edits that fired, each once."""
        return Generation("", findings=self.findings).fired

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.finish_reason is not None or self._writing.closed.is_set():
            raise StopIteration
        piece = self._writing.pieces.get()
        if isinstance(piece, str):
            return piece
        self._writing.closed.set()
        if isinstance(piece, BaseException):
            raise piece
        self.finish_reason = piece.finish_reason
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop writing; returns when the model is free."""
        self._writing.closed.set()
        self._thread.join()

    def __del__(self) -> None:
        if writing := vars(self).get("_writing"):
            writing.closed.set()


class _Writing:
    """What the thread of a stream does. It knows nothing of the stream, which may be dropped.

    It is transformers' streamer and one of its stopping criteria.
    """

    def __init__(
        self,
        backbone: Backbone,
        text: Rendered,
        intervention: Intervention,
        settings: Mapping[str, Setting],
    ) -> None:
        self.pieces: SimpleQueue[str | Generation | BaseException] = SimpleQueue()
        self.closed = Event()
        self._backbone, self._text = backbone, text
        self._intervention, self._settings = intervention, settings
        self._reader = Detokenizer(backbone.tokenizer, backbone.special_ids)
        self._prompt_read = False

    def run(self) -> None:
        criteria = [*(self._settings.get("stopping_criteria") or ()), self._stop]
        own = {**self._settings, "streamer": self, "stopping_criteria": criteria}
        try:
            (ids,) = generate_ids(self._backbone, [self._text], self._intervention, **own)
        except BaseException as error:
            self.pieces.put(error)
            return
        ended = Stops.of(self._backbone, self._settings).ended(self._backbone, ids)
        self.pieces.put(Generation("", "stop" if ended else "length"))

    def put(self, tokens: Tensor) -> None:
        """A streamer is given the prompt first, then each token."""
        if self._prompt_read:
            for token in tokens.flatten().tolist():
                self._tell(self._reader.add(token))
        self._prompt_read = True

    def end(self) -> None:
        self._tell(self._reader.end())

    def _tell(self, piece: str) -> None:
        if piece:
            self.pieces.put(piece)

    def _stop(self, input_ids: Tensor, scores: Tensor, **more: object) -> Tensor:
        return torch.full((len(input_ids),), self.closed.is_set(), device=input_ids.device)
