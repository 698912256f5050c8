"""The entry point: vLLM calls `register` in each of its processes, before it makes anything.

Nothing changes where `additional_config` has no "lks".
"""

from __future__ import annotations

from typing import Any

from lks.errors import InputError, LKSError
from lks.packs.manifest import verify
from lks.serving.vllm.settings import GUARD, KEY, Settings, refused, salted

VERSION = "0.32."  # of vLLM: inner names of its classes are used


def register() -> None:
    """Ready vLLM's classes; a second call does nothing."""
    import vllm
    from vllm.engine.arg_utils import EngineArgs

    if hasattr(EngineArgs, KEY):
        return
    setattr(EngineArgs, KEY, True)
    known = vllm.__version__.startswith(VERSION)
    _arm_config(EngineArgs, None if known else vllm.__version__)
    if not known:
        return
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.core import EngineCore
    from vllm.v1.worker.worker_base import WorkerBase

    from lks.serving.vllm.serve import read_prompts
    from lks.serving.vllm.worker import lks_armed, lks_put

    read_prompts(AsyncLLM)
    _ask_at_start(EngineCore)
    _arm_worker(WorkerBase)
    WorkerBase.lks_armed, WorkerBase.lks_put = lks_armed, lks_put


def _arm_config(args_class: Any, unknown: str | None = None) -> None:
    """The config is salted, has the guard, and is refused where the places would be lost.

    Args:
        unknown: the version of a vLLM for which this plugin is not made.
    """
    make = args_class.create_engine_config

    def create_engine_config(self: Any, *args: Any, **kwargs: Any) -> Any:
        settings = Settings.of(self.additional_config)
        if settings is None:
            return make(self, *args, **kwargs)
        if unknown is not None:
            raise InputError(f"LKS knows vLLM {VERSION}x, and this is {unknown}; install that one")
        if settings.packs and type(self).__name__ != "AsyncEngineArgs":
            raise InputError(
                f'additional_config: "{KEY}" with packs is for a server; take vllm serve'
            )
        for path in settings.packs.values():
            verify(path)
        self.additional_config = salted(self.additional_config)
        others = [own for own in self.logits_processors or () if own != GUARD]
        self.logits_processors = [*others, GUARD]
        config = make(self, *args, **kwargs)
        if problems := refused(config):
            raise InputError(f"LKS cannot go with {'; nor with '.join(problems)}")
        return config

    args_class.create_engine_config = create_engine_config


def _ask_at_start(core_class: Any) -> None:
    """An engine whose ranks are not all armed does not start."""
    start = core_class._initialize_kv_caches

    def _initialize_kv_caches(self: Any, vllm_config: Any, *args: Any, **kwargs: Any) -> Any:
        from lks.serving.vllm.worker import check_armed

        settings = Settings.of(vllm_config.additional_config)
        if settings is not None:
            if settings.code is None:
                raise LKSError("this engine was not set up by the LKS plugin; install it there")
            answers = self.collective_rpc("lks_armed")
            layers = vllm_config.model_config.get_total_num_hidden_layers()
            check_armed(answers, settings, layers)
        return start(self, vllm_config, *args, **kwargs)

    core_class._initialize_kv_caches = _initialize_kv_caches


def _arm_worker(worker_class: Any) -> None:
    """Only a process that has a rank imports what runs a model."""
    made = worker_class.__init__

    def __init__(self: Any, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        if Settings.of(vllm_config.additional_config) is not None:
            from vllm.v1.worker.gpu_model_runner import GPUModelRunner

            from lks.serving.vllm.worker import arm_runner

            if not hasattr(GPUModelRunner, "lks"):
                arm_runner(GPUModelRunner)
                GPUModelRunner.lks = None
        made(self, vllm_config, *args, **kwargs)

    worker_class.__init__ = __init__
