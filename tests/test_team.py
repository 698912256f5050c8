"""Several processes train what one does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lks.errors import ModelError
from lks.model.backbone import Backbone
from lks.training.distributed import ProcessGroup

WORKER = """
import json, sys
import torch
from conftest import make_edits
from lks.model.backbone import Backbone
from lks.training.train_pack import train_pack
from lks.training.config import TrainingConfig
from lks.training.distributed import ProcessGroup

torch.set_num_threads(1)
backbone = Backbone.load(sys.argv[1], device="cpu", dtype="float32")
config = TrainingConfig(
    layer=(1, 2), epochs=4, tail_epochs=3, batch_size=3, lr=1e-3, refine_lr=5e-3,
    precision="float32",
    patience=0, scope="entity",
)
losses = []
team = ProcessGroup.of_environment(backbone.device)
pack = train_pack(backbone, make_edits(), config, team=team, on_epoch=losses.append)
if team.is_main:
    rows = [[e.reliability, e.generality, e.locality] for e in losses]
    dropped = pack.training.dropped_texts
    blocks = pack.blocks.flatten(1).tolist()
    print(json.dumps({"losses": rows, "dropped": dropped, "blocks": blocks}))
"""


def start(model: Path, **environment: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    command = [sys.executable, "-c", WORKER, str(model)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_two_processes_have_the_losses_and_blocks_of_one(model_folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"ACCELERATE_USE_CPU": "true", "LOCAL_WORLD_SIZE": "2"}
    pair = [start(model_folder, RANK=str(i), LOCAL_RANK=str(i), **common) for i in range(2)]
    alone = start(model_folder)
    together, silent = (process.communicate(timeout=240)[0] for process in pair)
    assert [process.returncode for process in pair] == [0, 0]
    assert silent == ""
    one, two = json.loads(alone.communicate()[0]), json.loads(together.splitlines()[-1])
    assert one["dropped"] == two["dropped"]
    for key in ("losses", "blocks"):
        for ours, theirs in zip(one[key], two[key], strict=True):
            assert theirs == pytest.approx(ours, abs=1e-4)


def test_more_processes_than_gpus_are_told_so(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(
        ModelError, match="process 2 on this machine finds 1 GPU; start one process"
    ):
        Backbone.load(str(model_folder))
    assert Backbone.load(str(model_folder), device="cpu").device.type == "cpu"


def test_values_come_back_in_the_order_of_the_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    team = ProcessGroup(rank=1, size=3)
    assert [edit for edit in range(7) if team.owns(edit)] == [1, 4]
    monkeypatch.setattr(team, "gathered", lambda own: [[0, 3, 6], *own, [2, 5]])
    assert team.in_order([1, 4]) == list(range(7))
