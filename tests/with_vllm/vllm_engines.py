"""A small random model that vLLM can run, and engines over it, each in processes of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from conftest import SPECIAL, make_edits, make_tokenizer

from lks.blocks.hypernetwork import HyperNetwork
from lks.model.backbone import Backbone
from lks.packs.pack import Pack
from lks.packs.training_summary import TrainingSummary
from lks.serving.vllm.engine import VllmEngine
from lks.training.config import TrainingConfig

# Two threads on a busy machine wait for each other.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
WIDTH = 128
# Prompts are read in parts, and their beginnings are kept.
OPTIONS = {
    "enforce_eager": True,
    "max_num_batched_tokens": 64,
    "max_num_seqs": 64,
    "max_model_len": 512,
    "block_size": 32,
    "enable_prefix_caching": True,
    "enable_chunked_prefill": True,
}
ROWS = 16


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vLLM's attention on a CPU wants heads of 32."""
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        vocab_size=360, hidden_size=WIDTH, intermediate_size=256, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.125, **SPECIAL,
    )  # fmt: skip
    made = tf.AutoModelForCausalLM.from_config(config).float()
    path = tmp_path_factory.mktemp("model")
    made.save_pretrained(path)
    make_tokenizer(chat=True).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def wide(folder: Path) -> Backbone:
    return Backbone.load(str(folder), device="cpu")


def pack_of(backbone: Backbone, seed: int, layer: int = 1, form: str = "residual") -> Pack:
    """Random blocks, large enough to be seen in every answer."""
    torch.manual_seed(seed)
    config = TrainingConfig(layer=layer, scope="entity", form=form)
    edits = make_edits()
    return Pack(
        edits=edits, blocks=4 * torch.randn(len(edits), 1, WIDTH),
        hypernetwork=dict(HyperNetwork(WIDTH).state_dict()), base_model=backbone.fingerprint,
        layers=(layer,), form=form, kind="linear", scale=(1.5,),
        training=TrainingSummary(config=config.to_json()),
    )  # fmt: skip


@contextmanager
def running(backbone: Backbone, **options: Any) -> Iterator[VllmEngine]:
    engine = VllmEngine(backbone, options={**OPTIONS, **options}, rows=ROWS)
    engine.start()
    try:
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="session")
def vllm(wide: Backbone) -> Iterator[VllmEngine]:
    with running(wide) as engine:
        yield engine
