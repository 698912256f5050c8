"""Checkpoints of training: safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lks.errors import InputError, OutputError
from lks.training.config import TrainingConfig, todays
from lks.training.progress import Epoch

FILE = "checkpoint.safetensors"


@dataclass
class State:
    """What has to be restored, by reference: loading changes the parts in place."""

    blocks: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    config: TrainingConfig
    latest: Tensor


def beside(out: Path) -> Path:
    """The folder for the checkpoint of a pack that is to be at `out`."""
    return out.with_name(out.name + ".checkpoint")


def is_in(folder: Path) -> bool:
    """Whether there is a checkpoint: none is written before the first epochs are done."""
    return (folder / FILE).exists()


def check_absent(folder: Path) -> None:
    """Raise InputError where an interrupted run left a checkpoint, which a new one would lose."""
    if is_in(folder):
        raise InputError(
            f"{folder} is the checkpoint of a run that was interrupted; go on with --resume, or "
            "start afresh with --no-resume"
        )


def save(folder: Path, state: State, epochs: Sequence[Epoch]) -> None:
    """Write the state after an epoch; the earlier checkpoint stays until the new one is whole."""
    tensors = {f"blocks.{key}": value for key, value in state.blocks.state_dict().items()}
    tensors["latest"] = state.latest
    steps: dict[str, float] = {}
    for number, optimizer in enumerate(state.optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            for slot, value in slots.items():
                key = f"optimizer.{number}.{index}.{slot}"
                if isinstance(value, Tensor):
                    tensors[key] = value
                else:
                    steps[key] = value
    meta = {
        "config": json.dumps(state.config.to_json(), sort_keys=True),
        "epochs": json.dumps([epoch.to_json() for epoch in epochs]),
        "steps": json.dumps(steps),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{FILE}.tmp"
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, temporary, meta)
        temporary.replace(folder / FILE)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"cannot write the checkpoint {folder}: {error}; free some space and use --resume"
        ) from error


def load(folder: Path, state: State) -> list[Epoch]:
    """Restore the state in place; returns the epochs done.

    Raises:
        InputError: there is no checkpoint, it is damaged, or it is of other edits or settings.
    """
    path = folder / FILE
    if not path.exists():
        raise InputError(f"no checkpoint in {folder}; leave --resume out to start afresh")
    try:
        with safe_open(path, framework="pt") as stored:
            meta = stored.metadata()
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            f"the checkpoint {path} is damaged ({error}); start afresh with --no-resume"
        ) from error
    blocks = {k.removeprefix("blocks."): v for k, v in tensors.items() if k.startswith("blocks.")}
    own = state.blocks.state_dict()
    same = todays(json.loads(meta["config"])) == state.config.to_json() and all(
        key in blocks and torch.equal(blocks[key], own[key].cpu()) for key in ("features",)
    )
    if not same:
        raise InputError(
            f"the checkpoint {path} is of other edits, settings or another model; "
            "use the same ones, or start afresh with --no-resume"
        )
    state.blocks.load_state_dict(blocks)
    state.latest.copy_(tensors["latest"])
    values: dict[str, Tensor | float] = {**tensors, **json.loads(meta["steps"])}
    for number, optimizer in enumerate(state.optimizers):
        slots: dict[int, dict[str, Tensor | float]] = {}
        for key, value in values.items():
            kind, *rest = key.split(".")
            if kind == "optimizer" and int(rest[0]) == number:
                slots.setdefault(int(rest[1]), {})[rest[2]] = value
        whole = optimizer.state_dict() | {"state": slots}
        optimizer.load_state_dict(whole)
    return [Epoch.from_json(epoch) for epoch in json.loads(meta["epochs"])]
