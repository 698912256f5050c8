"""The server's engine over vLLM, in processes of its own: several GPUs, quantised weights."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from itertools import count
from multiprocessing import active_children
from threading import Thread
from typing import Any, TypeVar

from lks.errors import InputError, LKSError
from lks.model.backbone import Backbone
from lks.model.engine.generation import RULES
from lks.model.loading import resolve
from lks.serving.delivery import Delivery, check_request
from lks.serving.probe import check
from lks.serving.protocol import Deliver, EngineFailure, EngineRequest, Load, Scored
from lks.serving.vllm.outputs import scored, steps
from lks.serving.vllm.rows import Bank, Handed
from lks.serving.vllm.settings import KEY, ROWS, Settings
from lks.serving.vllm.worker import check_armed

Result = TypeVar("Result")
LOGPROBS = 20  # of the likeliest tokens, at most: OpenAI's limit
NOT_KNOWN = tuple(rule for rule in RULES if rule != "repetition_penalty")
# What vLLM reads from there, unless somebody has set it.
ENVIRONMENT = {"VLLM_USE_V2_MODEL_RUNNER": "0", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}


class VllmEngine:
    """Writes many texts at once with vLLM; see `Engine`. Its front needs the backbone, too.

    Args:
        model: where vLLM finds the weights, if not where the backbone's are: quantised ones.
        options: of vLLM's engine, by the names that `vllm serve` has: tensor_parallel_size, ...
        rows: blocks that texts that are being written have together.
    """

    def __init__(
        self,
        backbone: Backbone,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        rows: int = ROWS,
    ) -> None:
        self._backbone, self._model, self._options = backbone, model, dict(options or {})
        self._rows = rows
        self._texts: dict[str, Delivery] = {}
        self._keys = count()
        self._tasks = set[asyncio.Task[Any]]()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._client: Any = None
        self._closed = False
        self._bank: Bank | None = None

    @property
    def context(self) -> int | None:
        own = self._backbone.context
        if self._client is None:
            return own
        most = int(self._client.model_config.max_model_len)
        return most if own is None else min(own, most)

    @property
    def alive(self) -> bool:
        return self._client is not None and not self._client.errored

    @property
    def load(self) -> Load:
        begun = [text.begun for text in list(self._texts.values())]
        return Load(sum(begun), len(begun) - sum(begun))

    def start(self) -> None:
        """Start vLLM, ask every rank whether it is armed, and check a few short texts.

        Raises:
            LKSError: this model cannot be served so.
        """
        self._closed = False
        own = self._backbone.model.generation_config
        if rules := [r for r in NOT_KNOWN if getattr(own, r, None) not in (None, 0)]:
            raise LKSError(
                f"{self._backbone.name} writes by a rule of its own ({rules[0]}) that vLLM has "
                "not; take --engine transformers"
            )
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="lks-vllm", daemon=True)
        self._thread.start()
        try:
            self._soon(self._begin()).result()
            check(self, self._backbone, self._client.model_config.dtype)
        except BaseException as error:
            self.close()
            if isinstance(error, LKSError) or not isinstance(error, Exception):
                raise
            raise LKSError(f"vLLM cannot serve {self._backbone.name}: {error}") from error

    def close(self) -> None:
        """Stop; texts that are being written end with an `EngineFailure`.

        While vLLM is being started, its processes are ended: they would outlive this one.
        """
        self._closed = True
        if self._client is None:
            for process in active_children():
                if process.name.startswith("EngineCore"):
                    process.terminate()
        loop, thread, client = self._loop, self._thread, self._client
        self._loop = self._thread = self._client = self._bank = None
        if loop is None or thread is None:
            return
        for key in list(self._texts):
            self._fail(key, "the engine has stopped")
        asyncio.run_coroutine_threadsafe(self._ended(client), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        del client
        gc.collect()  # vLLM's client is in a cycle, and complains if it outlives its modules

    def submit(self, request: EngineRequest, deliver: Deliver) -> Callable[[], None]:
        """Begin a text; see `Engine`.

        Raises:
            InputError: the prompt has no token, or leaves no room for one.
            EngineFailure: the engine does not run.
        """
        room, most = self._room(request), request.sampling.max_tokens
        if most < 1:
            raise InputError(f"max_tokens is {most}; give at least 1")
        most = most if room is None else min(most, room)
        key, text = str(next(self._keys)), Delivery(request, deliver)
        self._texts[key] = text
        try:
            writing = self._soon(self._write(key, text, most))
        except EngineFailure:
            self._texts.pop(key, None)
            raise

        def cancel() -> None:
            text.end()
            if self._texts.pop(key, None) is not None:
                writing.cancel()

        return cancel

    def score(self, request: EngineRequest) -> list[Scored]:
        """The prompt's tokens under the model with the request's blocks in; see `Engine`."""
        self._room(request)
        return self._soon(self._score(request)).result()

    # --- in the thread of vLLM's client

    async def _begin(self) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        additional = {KEY: {"rows": self._rows}, **self._options.pop("additional_config", {})}
        given = {
            "model": self._model or _place(self._backbone.name),
            "dtype": str(self._backbone.model.dtype).removeprefix("torch."),
            "max_logprobs": LOGPROBS,
            "enable_log_requests": False,
            "disable_log_stats": True,
            **self._options,
        }
        try:
            args = AsyncEngineArgs(**given, additional_config=additional)
        except TypeError as error:
            raise InputError(f"vLLM refuses its options: {error}") from error
        config = args.create_engine_config()
        settings = Settings.of(config.additional_config)
        if settings is None or settings.code is None:
            raise LKSError(
                "vLLM has not loaded the LKS plugin; install LKS where vLLM is, and name lks in "
                "VLLM_PLUGINS if that is set"
            )
        if self._closed:
            raise EngineFailure("the engine has stopped")
        self._client = AsyncLLM.from_vllm_config(config, disable_log_stats=True)
        answers = await self._client.collective_rpc("lks_armed")
        check_armed(answers, settings, self._backbone.n_layers)
        self._bank = Bank(self._client.collective_rpc, settings.rows)

    async def _ended(self, client: Any) -> None:
        """Cancel the texts that are left, wait until vLLM has been told, and stop it."""
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if client is not None:
            listening = client.output_handler
            client.output_handler = None
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            client.shutdown()

    async def _write(self, key: str, text: Delivery, most: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        request, bank, client = text.request, self._bank, self._client
        if bank is None or client is None:
            return self._fail(key, "the engine does not run")
        begun = request.ids[len(request.ids) - request.written :]
        try:
            async with bank.holding(request.blocks, request.targets, begun) as handed:
                sampling, prompt = self._params(request, most, handed), _prompt(request, handed)
                async with aclosing(client.generate(prompt, sampling, f"lks-{key}")) as outputs:
                    async for output in outputs:
                        text.begun = True
                        for step in steps(output.outputs[0], request.sampling.logprobs):
                            if step.finish:
                                self._texts.pop(key, None)
                            if not text.give(step):
                                return
        except Exception as error:
            self._fail(key, f"{type(error).__name__}: {error}")
        finally:
            self._texts.pop(key, None)

    async def _score(self, request: EngineRequest) -> list[Scored]:
        bank, client = self._bank, self._client
        if bank is None or client is None:
            raise EngineFailure("the engine does not run")
        most = request.sampling.logprobs or 0
        async with bank.holding(request.blocks) as handed:
            sampling = self._params(request, 1, handed, scored=most)
            prompt, key = _prompt(request, handed), f"lks-score-{next(self._keys)}"
            async with aclosing(client.generate(prompt, sampling, key)) as outputs:
                async for output in outputs:
                    if output.prompt_logprobs:
                        return scored(request.ids, output.prompt_logprobs, most)
        raise EngineFailure("vLLM told no log-probabilities of a prompt")

    def _params(
        self, request: EngineRequest, most: int, handed: Handed, scored: int | None = None
    ) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        own, config = request.sampling, self._backbone.model.generation_config
        return SamplingParams(
            max_tokens=most,
            temperature=own.temperature,
            top_p=own.top_p,
            seed=own.seed,
            repetition_penalty=getattr(config, "repetition_penalty", None) or 1.0,
            stop_token_ids=sorted(own.stop_ids),
            ignore_eos=True,  # what ends a text, the request says
            logprobs=own.logprobs if scored is None else None,
            prompt_logprobs=scored,  # with it, nothing is taken from the prefix cache
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            extra_args=handed.extra or None,
        )

    # ---

    def _room(self, request: EngineRequest) -> int | None:
        """How many tokens may be written behind a prompt; vLLM wants room for one."""
        check_request(self._backbone, request)
        n, context = len(request.ids), self.context
        if context is not None and n >= context:
            raise InputError(
                f"the prompt has {n} tokens, and the engine holds {context} with those that are "
                "written; shorten it"
            )
        return None if context is None else context - n

    def _soon(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Do something in the client's thread."""
        loop = self._loop
        if loop is None:
            work.close()
            raise EngineFailure("the engine does not run")
        return asyncio.run_coroutine_threadsafe(work, loop)

    def _fail(self, key: str, reason: str) -> None:
        if (text := self._texts.pop(key, None)) is not None:
            text.give(EngineFailure(reason))


def _prompt(request: EngineRequest, handed: Handed) -> dict[str, Any]:
    prompt: dict[str, Any] = {"prompt_token_ids": list(request.ids)}
    return prompt if handed.salt is None else {**prompt, "cache_salt": handed.salt}


def _place(name: str) -> str:
    """Where vLLM finds the backbone's weights."""
    source = resolve(name, lambda text: None)
    if source.revision is not None:
        raise InputError(
            f"--engine vllm reads no revision ({name}); "
            "give a folder with config.json and safetensors, or a hub id"
        )
    return source.place
