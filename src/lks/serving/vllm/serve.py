"""In the process of a `vllm serve` that has packs: prompts are looked through before they go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from lks.errors import LKSError
from lks.serving.vllm.packs import Packs, Served
from lks.serving.vllm.rows import Bank
from lks.serving.vllm.settings import KEY, Settings
from lks.serving.vllm.worker import check_armed


def read_prompts(client_class: Any) -> None:
    """The class's `generate` puts in what is in force, where the config names packs."""
    generate = client_class.generate

    async def edited(
        self: Any, prompt: Any, sampling_params: Any, request_id: str, **kwargs: Any
    ) -> AsyncIterator[Any]:
        settings = Settings.of(self.vllm_config.additional_config)
        if settings is None or not settings.packs:
            async with aclosing(
                generate(self, prompt, sampling_params, request_id, **kwargs)
            ) as own:
                async for output in own:
                    yield output
            return
        if getattr(self, "lks_front", None) is None:
            self.lks_front = Front(self, settings)
        front: Front = self.lks_front
        try:
            await front.start()
            reading = await asyncio.to_thread(front.read, prompt, sampling_params)
            async with front.bank.holding(reading.blocks, reading.targets) as handed:
                params = sampling_params.clone()
                params.extra_args = {**_others(params), **handed.extra}
                if handed.salt is not None:
                    salts = filter(None, (prompt.get("cache_salt"), handed.salt))
                    prompt = {**prompt, "cache_salt": ":".join(salts)}
                async with aclosing(generate(self, prompt, params, request_id, **kwargs)) as own:
                    async for output in own:
                        yield output
        except LKSError as error:
            raise _bad_request(error) from error

    client_class.generate = edited


class Front:
    """What stands before one engine."""

    def __init__(self, client: Any, settings: Settings) -> None:
        config = client.model_config
        model = Served(
            config.model,
            client.get_tokenizer(),
            config.get_total_num_hidden_layers(),
            config.get_hidden_size(),
        )
        self.bank = Bank(client.collective_rpc, settings.rows)
        self.packs = Packs(model, settings.packs, settings.default, settings.layers)
        self._client, self._settings, self._ready = client, settings, False
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Read the packs, and ask every rank, before the first prompt."""
        async with self._starting:
            if not self._ready:
                answers = await self._client.collective_rpc("lks_armed")
                check_armed(answers, self._settings, self.packs.model.n_layers)
                await asyncio.to_thread(self.packs.load)
                self._ready = True

    def read(self, prompt: Any, params: Any) -> Any:
        ids = prompt.get("prompt_token_ids") if isinstance(prompt, Mapping) else None
        if not isinstance(ids, Sequence) or not len(ids):
            raise LKSError("LKS reads prompts of tokens; this one is none")
        name = (params.extra_args or {}).get(KEY)
        if name is not None and not isinstance(name, str):
            raise LKSError(f'vllm_xargs: "{KEY}" is the name of a set, not {name!r}')
        return self.packs.read(ids, name)


def _others(params: Any) -> dict[str, Any]:
    """What is no business of this plugin; places are never taken from a client."""
    return {key: value for key, value in (params.extra_args or {}).items() if key != KEY}


def _bad_request(error: LKSError) -> Exception:
    from vllm.exceptions import VLLMValidationError

    bad: Exception = VLLMValidationError(str(error))
    return bad
