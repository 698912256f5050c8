"""The plugin of vLLM, piece by piece, without vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_backbone
from test_threads import random_pack

from lks.editors.lks.model import ScalpelModel
from lks.errors import InputError, PackMismatch
from lks.packs.manifest import remove
from lks.serving import front
from lks.serving.service import Snapshot
from lks.serving.vllm.packs import Packs, Served

WIDTH, TOKENS = 8, 12


# --- packs of vLLM's own server


@pytest.fixture
def served(tmp_path: Path) -> tuple[Packs, ScalpelModel]:
    backbone = make_backbone("llama", chat=True)
    pack = random_pack(backbone)
    pack.save(tmp_path / "facts.pack")
    model = Served("tiny", backbone.tokenizer, 4, 32)
    packs = Packs(model, {"facts": tmp_path / "facts.pack"}, "facts")
    packs.load()
    return packs, ScalpelModel(backbone, pack)


def test_a_prompt_of_tokens_fires_what_it_fires_elsewhere(
    served: tuple[Packs, ScalpelModel],
) -> None:
    packs, model = served
    own = Snapshot("facts", 1, model.in_force, [1], True)
    for prompt in ("Where is the Eiffel Tower?", "Ada Lovelace met Mount Fuji", "Where is Rome?"):
        ids = model.backbone.tokenizer(prompt).input_ids
        found, right = packs.read(ids, None), front.read(model.backbone, own, ids)
        assert (found.fired, found.targets) == (right.fired, right.targets)
        assert (found.blocks is None) == (right.blocks is None)
        if found.blocks is not None and right.blocks is not None:
            assert torch.equal(found.blocks.values, right.blocks.values)
            assert found.blocks.positions == right.blocks.positions
        assert packs.read(ids, "").blocks is None
    with pytest.raises(InputError, match='no set "x"; there is facts'):
        packs.read([5], "x")


def test_a_pack_that_changes_is_read_anew(served: tuple[Packs, ScalpelModel]) -> None:
    packs, model = served
    ids = model.backbone.tokenizer("Where is the Eiffel Tower?").input_ids
    assert packs.read(ids, None).fired == ("eiffel",)
    before = packs.snapshot("facts")
    assert packs.snapshot("facts") is before
    remove(packs.packs["facts"], ["eiffel"])
    assert packs.read(ids, None).fired == ()
    assert packs.snapshot("facts").version == before.version + 1


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"width": 64}, PackMismatch, "another width"),
        ({"n_layers": 2}, PackMismatch, "another number of layers"),
        ({"tokenizer": make_backbone("llama", bos=True).tokenizer}, PackMismatch, "tokenizer"),
    ],
)
def test_a_pack_of_another_model_is_refused(
    served: tuple[Packs, ScalpelModel], change: dict[str, Any], error: type, reason: str
) -> None:
    packs, _ = served
    other = Packs(Served(**{**vars(packs.model), **change}), packs.packs, "facts")
    with pytest.raises(error, match=reason):
        other.load()
    with pytest.raises(InputError, match="layer 1; add it"):
        Packs(packs.model, packs.packs, "facts", layers=[2]).load()
