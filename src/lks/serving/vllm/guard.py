"""Targets said whole (`model.engine.guard`), as a logits processor of vLLM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from lks.model import tokens
from lks.model.engine.guard import TextGuard
from lks.model.untyped import Tokenizer
from lks.serving.vllm.settings import KEY


class _Words:
    """What the guard asks of a model: its tokenizer. It is loaded when the first target comes."""

    def __init__(self, model_config: Any) -> None:
        self._config = model_config

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return cached_tokenizer_from_config(self._config)

    @cached_property
    def sticking_ids(self) -> Tensor:
        return torch.tensor(tokens.sticking_ids(self.tokenizer))


class Guard(AdapterLogitsProcessor):  # type: ignore[misc]
    """Guards the texts whose requests name targets."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        self._words = _Words(vllm_config.model_config)

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(
        self, params: Any
    ) -> Callable[[Sequence[int], Tensor], Tensor] | None:
        own = (params.extra_args or {}).get(KEY) or {}
        guard = TextGuard(self._words, own.get("targets", ()))
        if not guard:
            return None

        begun = list(own.get("begun", ()))  # of a text that is taken up anew

        def guarded(written: Sequence[int], scores: Tensor) -> Tensor:
            guard([*begun, *written], scores)
            return scores

        return guarded
