"""Many texts at once, by transformers' own continuous batching.

The library schedules: each step reads tokens of many texts as one packed row, new prompts in parts
beside texts that are being written. What happens around a step and which tokens follow is left to
a `Writer`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Thread
from typing import Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface, ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    OutputRouter,
)
from transformers.generation.continuous_batching.requests import RequestStatus

from lks.errors import ModelError
from lks.model.backbone import Backbone
from lks.model.engine import packed_attention
from lks.model.untyped import Attribute, CausalLM

PAGE = 32  # tokens; the cache is given out in pages
_log = logging.getLogger(__name__)
# An accelerator that failed once fails at whatever comes next.
_FATAL: tuple[type[Exception], ...] = (torch.AcceleratorError,)


@dataclass(frozen=True)
class Chunk:
    """Tokens of one text in a step's packed row.

    Attributes:
        key: of the text.
        first: the column of its first token in the row.
        past: how many tokens of the text were read before.
    """

    key: str
    first: int
    past: int
    length: int


class Writer(Protocol):
    """What a step asks. Its methods run in the thread of the steps."""

    def around(self, chunks: Sequence[Chunk]) -> AbstractContextManager[object]:
        """What is open while the model reads a step."""
        ...

    def choose(self, keys: Sequence[str], logits: Tensor) -> Sequence[int]:
        """The next token of each of k texts, from [k, vocabulary] in float32."""
        ...

    def failed(self, key: str, error: Exception) -> None:
        """A text ends here, whether it was finished already or not."""
        ...

    def stopped(self) -> None:
        """There are no more steps, for whatever reason."""
        ...


@dataclass(frozen=True)
class Limits:
    """How much is done at once.

    Attributes:
        cache_tokens: of all texts that are being written, prompts included; others wait.
        step_tokens: that one step reads; longer prompts are read in parts.
        texts: that one step goes on with.
    """

    cache_tokens: int = 8192
    step_tokens: int = 256
    texts: int = 64

    @property
    def pages(self) -> int:
        return max(1, -(-self.cache_tokens // PAGE))


class ContinuousBatch:
    """Texts that are written together in a thread of its own.

    Args:
        backbone: whose modules nobody else runs; see `model.shared`. How it attends is changed.
        packed: attend within each text (`packed_attention`) rather than by a mask over all.

    Raises:
        ModelError: transformers cannot batch this model so, or the cache finds no room.
    """

    def __init__(self, backbone: Backbone, limits: Limits, writer: Writer, *, packed: bool) -> None:
        if backbone.kind != "decoder":
            raise ModelError(
                f"{backbone.name} is an encoder-decoder, and these are not served; "
                "lks ask and lks eval take it"
            )
        model = backbone.model
        if packed:
            AttentionInterface.register(packed_attention.NAME, packed_attention.attend)
            model.set_attn_implementation(packed_attention.NAME)
        try:
            self._manager = _Manager(model, _config(limits), writer)
            self._manager.warmup()  # makes the cache; no pass through the model
        except (MemoryError, ValueError, AttributeError, NotImplementedError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"{backbone.name} cannot be served here: {reason}") from error

    def start(self) -> None:
        self._manager.start()

    def close(self) -> None:
        """Stop before the next step; texts that are not finished fail."""
        self._manager.stop(hard_stop=True)
        self._manager.destroy()

    @property
    def alive(self) -> bool:
        status = self._manager.background_thread_status
        return bool(self._manager.is_running()) and status.can_accept_new_requests() is None

    def add(self, key: str, ids: Sequence[int], most: int, stop_ids: Sequence[int]) -> bool:
        """Begin a text of at most so many tokens; False if nothing is begun any more."""
        return bool(
            self._manager.add_request(
                list(ids), request_id=key, max_new_tokens=most, eos_token_id=list(stop_ids)
            )
        )

    def cancel(self, key: str) -> None:
        """Read no more of a text from the next step on."""
        self._manager.cancel_request(key)


def _config(limits: Limits) -> ContinuousBatchingConfig:
    return ContinuousBatchingConfig(
        page_size=PAGE,
        num_blocks=limits.pages,
        max_batch_tokens=limits.step_tokens,
        max_requests_per_batch=min(limits.texts, limits.step_tokens),
        max_blocks_per_request=0,
        allow_block_sharing=False,  # an edited beginning is nobody else's
        use_async_batching=False,
        use_cuda_graph=False,
        auto_switch_to_flash=False,
    )


class _Router(OutputRouter):  # type: ignore[misc]
    """Tokens were given to the writer when they were chosen; what is left are failures."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer

    def deliver(self, output: object) -> None:
        pass

    def deliver_batch(self, outputs: object) -> None:
        pass

    def fail_and_deliver(self, state: Attribute, error: Exception) -> None:
        state.status = RequestStatus.FAILED
        self._writer.failed(state.request_id, error)


class _Manager(ContinuousBatchingManager):  # type: ignore[misc]
    """The library's manager, which asks a writer, and lives on when a step fails."""

    def __init__(self, model: CausalLM, config: ContinuousBatchingConfig, writer: Writer) -> None:
        greedy = GenerationConfig(do_sample=False, eos_token_id=-1)
        super().__init__(model, greedy, config)
        self.output_router = _Router(writer)
        self._writer, self._reading = writer, False

    def switch_to_cb_friendly_attn(
        self, model: CausalLM, auto_switch_to_flash: bool = True
    ) -> None:
        if model.config._attn_implementation != packed_attention.NAME:
            super().switch_to_cb_friendly_attn(model, auto_switch_to_flash)

    def start(self) -> None:
        self.background_thread_status.clear()
        self._generation_thread = Thread(
            target=self._run_generation_loop, name="lks-engine", daemon=True
        )
        self._generation_thread.start()

    def _run_generation_loop(self) -> None:
        try:
            super()._run_generation_loop()
        finally:
            self._writer.stopped()

    def _create_batch_processor(self) -> Attribute:
        processor = super()._create_batch_processor()
        processor.model_runner._sample = self._choose
        return processor

    def _generation_loop_body(self, batch_processor: Attribute, bootstrapping: bool) -> bool:
        self._reading = False
        if not batch_processor.scheduler.active_requests:  # cancelled, when others waited for them
            batch_processor.scheduler.block_new_requests = False
        try:
            return bool(super()._generation_loop_body(batch_processor, bootstrapping))
        except _FATAL:
            raise
        except Exception as error:
            _log.exception("a step failed")
            if self._reading:
                batch_processor.handle_batch_error(error)
            else:  # which of the texts it came from is not known
                batch_processor.fail_all_requests(error)
            return True

    def _generation_step(self) -> None:
        self._reading = True
        with self._writer.around([*self._chunks()]):
            super()._generation_step()

    def _chunks(self) -> Iterator[Chunk]:
        first = 0
        for step in self._step:
            length, state = step.query_length, step.state
            yield Chunk(state.request_id, first, state.position_offset - length, length)
            first += length

    @property
    def _step(self) -> Sequence[Attribute]:
        """The texts of this step, in the row's order."""
        texts: Sequence[Attribute] = self.batch_processor.inputs_and_outputs.requests_in_batch
        return texts

    def _choose(self, scores: Tensor, output_ids: Tensor) -> None:
        keys = [step.state.request_id for step in self._step if step.has_new_token]
        if keys:  # else all prompts go on in the next step
            chosen = self._writer.choose(keys, scores[0, : len(keys)])
            output_ids[0, : len(keys)] = torch.tensor(chosen, dtype=output_ids.dtype)
