"""In a process that has a rank: its model is armed when it is loaded, and told places each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from lks.errors import LKSError
from lks.model.architectures.decoder import find_layers, get
from lks.serving.vllm.armed import Armed, Text, columns
from lks.serving.vllm.settings import KEY, Settings, code

PADDING = 512  # tokens that a step may be filled up with, beyond the most that it reads


def arm_runner(runner_class: type) -> None:
    """The class's runners arm their models, where the config asks for it."""
    made, prepare = runner_class.__init__, runner_class._prepare_inputs  # type: ignore[attr-defined, misc]

    def __init__(self: Any, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        made(self, vllm_config, *args, **kwargs)
        settings = Settings.of(vllm_config.additional_config)
        if settings is None:
            return
        load = self.load_model  # a subclass may have its own

        def load_model(*args: Any, **kwargs: Any) -> None:
            load(*args, **kwargs)
            self.lks = armed(self, settings)

        self.load_model = load_model

    def _prepare_inputs(self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        prepared = prepare(self, scheduler_output, *args, **kwargs)
        if (own := getattr(self, "lks", None)) is not None:
            own.place(columns(texts(self, scheduler_output.num_scheduled_tokens)))
        return prepared

    runner_class.__init__ = __init__  # type: ignore[misc]
    runner_class._prepare_inputs = _prepare_inputs  # type: ignore[attr-defined]


def armed(runner: Any, settings: Settings) -> Armed:
    """What arms the layers of a runner's loaded model, before anything of it is compiled."""
    model = runner.get_model()
    layers: nn.ModuleList = get(model, find_layers(model, type(model).__name__))
    if outside := [n for n in settings.layers if n >= len(layers)]:
        raise LKSError(f"no layer {outside[0]}; the model has layers 0 to {len(layers) - 1}")
    wanted = settings.layers or range(len(layers))
    here = {n: layers[n] for n in wanted if type(layers[n]).__name__ != "PPMissingLayer"}
    width = runner.model_config.get_hidden_size()
    tokens = runner.max_num_tokens + PADDING
    return Armed(here, width, settings.rows, tokens, runner.device)


def texts(runner: Any, scheduled: dict[str, int]) -> Iterator[Text]:
    """The texts of a step, in the order of its tokens."""
    past = runner.input_batch.num_computed_tokens_cpu
    for number, key in enumerate(runner.input_batch.req_ids):
        sampling = runner.requests[key].sampling_params
        own = ((sampling and sampling.extra_args) or {}).get(KEY) or {}
        places = own.get("layers", ()), own.get("positions", ()), own.get("rows", ())
        yield int(past[number]), scheduled[key], *places


# --- what every rank is asked by `collective_rpc`


def lks_armed(worker: Any) -> dict[str, object]:
    """What a rank has armed. Without the plugin it has no such method, and the call fails."""
    own: Armed | None = getattr(worker.model_runner, "lks", None)
    return {"code": code(), "layers": own.layers if own else [], "armed": own is not None}


def lks_put(
    worker: Any, rows: Sequence[int], values: bytes, keep: Sequence[float], most: Sequence[float]
) -> None:
    """Fill rows of a rank's bank."""
    worker.model_runner.lks.put(rows, values, keep, most)


def check_armed(answers: Sequence[Any], settings: Settings, n_layers: int) -> None:
    """LKSError unless every rank is armed by this plugin, and all layers are, in one or another."""
    wanted = set(settings.layers or range(n_layers))
    for rank, answer in enumerate(answers):
        if not isinstance(answer, dict) or not answer.get("armed"):
            raise LKSError(f"rank {rank} is not armed: no edit would be in force there")
        if answer["code"] != settings.code:
            raise LKSError(
                f"rank {rank} has another LKS ({answer['code']}, here {settings.code}); install "
                "the same one everywhere"
            )
        wanted -= set(answer["layers"])
    if wanted:
        raise LKSError(f"layer {min(wanted)} is armed in no rank")
