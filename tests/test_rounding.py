"""Numbers in 8 bits: rounded once, then kept exactly; packs of earlier versions as they are."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_backbone, make_edits
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from lks.blocks.bank import Bank
from lks.blocks.hypernetwork import HyperNetwork
from lks.blocks.rows import Rows, rounded
from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError
from lks.files import sha256
from lks.model.backbone import Backbone
from lks.packs import learnt
from lks.packs import manifest as manifest_module
from lks.packs.pack import Pack, append
from lks.packs.training_summary import TrainingSummary
from lks.scope.gate.metric import Array, Exemplars, GateState, Metric, directions
from lks.serving.store.parts import Parts
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

WIDTH = 32
BERLIN = Edit("wall", "Berlin Wall", "The Berlin Wall stood in", "Lima")
EMBEDDED = 24


def embed(texts: object) -> Array:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(list(texts)), EMBEDDED)).astype(np.float32)  # type: ignore[call-overload]
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def a_pack(*, trained: bool) -> Pack:
    """With a gate; of the numbers that training would give, or as earlier versions left them."""
    edits, rng = make_edits(), np.random.default_rng(1)
    torch.manual_seed(0)
    blocks = torch.randn(len(edits), 1, WIDTH)
    matrix = np.eye(EMBEDDED, dtype=np.float32)
    matrix += 0.03 * rng.standard_normal(matrix.shape).astype(np.float32)
    wordings = [[edit.prompt, f"{edit.prompt}?"] for edit in edits]
    exemplars = Exemplars.of(embed, wordings, [["no"]] + [[]] * (len(edits) - 1))
    opened = embed(range(5))
    metric = Metric.of(matrix, opened, 0.6, 0.9) if trained else Metric(matrix, opened, 0.6, 0.9)
    return Pack(
        edits=edits, blocks=rounded(blocks) if trained else blocks,
        hypernetwork=dict(HyperNetwork(WIDTH).state_dict()),
        base_model=make_backbone("llama").fingerprint, layers=(1,), form="residual", kind="linear",
        scale=(1.5,), training=TrainingSummary(), gate=GateState(metric, exemplars, "duo", "f"),
    )  # fmt: skip


@given(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), st.integers(-30, 30))
def test_rounding_twice_is_rounding_once(values: list[float], power: int) -> None:
    block = torch.tensor([values]) * 2.0**power
    once = rounded(block)
    assert torch.equal(rounded(once), once)
    assert (once - block).abs().max() <= block.abs().max() / 127 * 0.51
    kept = Rows.of(once)
    assert kept.values.dtype == torch.int8
    assert torch.equal(kept.all, once)


def test_what_8_bits_do_not_hold_is_kept_as_it_is() -> None:
    blocks = torch.randn(3, 7)
    assert torch.equal(Rows.of(blocks).all, blocks)
    assert Rows.of(blocks).nbytes == blocks.nbytes
    half = Rows.of(rounded(blocks)).joined(Rows.of(blocks))
    assert torch.equal(half.all, torch.cat([rounded(blocks), blocks]))
    odd = torch.tensor([[float("nan"), 1.0], [float("inf"), 0.0]])
    assert torch.equal(Rows.of(odd).all.nan_to_num(7), odd.nan_to_num(7))
    assert Rows.of(torch.zeros(0, 5)).all.shape == (0, 5)


def test_a_bank_holds_8_bits_and_gives_the_blocks() -> None:
    blocks = rounded(torch.randn(3, 1, WIDTH))
    bank = Bank.of(["a", "b", "c"], blocks, form="residual", scale=(1.0,))
    assert bank.stored_bytes(["a", "b"]) == 2 * (WIDTH + 4)
    bank = bank.only(["c", "a"]).joined(["d"], blocks[1:2]).without({"c"})
    assert torch.equal(bank.of_edits(["d", "a"]), blocks[[1, 0]])
    assert bank.stored_bytes(bank.rows) == 2 * (WIDTH + 4)


def test_a_trained_pack_is_in_8_bits_and_says_so(tmp_path: Path) -> None:
    pack = a_pack(trained=True)
    pack.save(tmp_path / "p")
    (part,) = manifest_module.verify(tmp_path / "p").parts
    assert part.stored == {"blocks": "int8", "references": "int8"}
    again = Pack.load(tmp_path / "p")
    assert torch.equal(again.blocks, pack.blocks)
    same_gate(again, pack)
    again.save(tmp_path / "again")
    for name in (part.edits, part.blocks, "gate.safetensors"):
        assert sha256(tmp_path / "again" / name) == sha256(tmp_path / "p" / name)
    assert load_file(tmp_path / "p" / "gate.safetensors")["change"].dtype == np.int8


def same_gate(one: Pack, two: Pack) -> None:
    assert one.gate is not None
    assert two.gate is not None
    for name in ("vectors", "edit", "vector", "negative"):
        mine, other = (getattr(p.gate.exemplars, name) for p in (one, two))  # type: ignore[union-attr]
        assert np.array_equal(mine, other)
        assert mine.dtype == other.dtype
    for name in ("matrix", "open_ended"):
        mine, other = (getattr(p.gate.metric, name) for p in (one, two))  # type: ignore[union-attr]
        assert np.array_equal(mine, other)


def test_numbers_that_were_never_rounded_stay(tmp_path: Path) -> None:
    pack = a_pack(trained=False)
    pack.save(tmp_path / "p")
    again = Pack.load(tmp_path / "p")
    assert torch.equal(again.blocks, pack.blocks)
    same_gate(again, pack)
    (part,) = manifest_module.read(tmp_path / "p").parts
    assert part.stored == {"blocks": "float32", "references": "int8"}


def of_schema_2(folder: Path) -> Pack:
    """A pack's folder as earlier versions wrote it."""
    pack = a_pack(trained=False)
    assert pack.gate is not None
    pack.save(folder)
    metric, exemplars = pack.gate.metric, pack.gate.exemplars
    ids = json.dumps([edit.id for edit in pack.edits])
    vectors = embed(exemplars.vectors).astype(np.float16)
    arrays = {
        f"references.{key}": getattr(exemplars, key) for key in ("edit", "vector", "negative")
    }
    arrays |= {"references.vectors": vectors, "blocks": pack.blocks[:, 0].numpy()}
    learnt.save_arrays(arrays, folder / "blocks.safetensors", {"ids": ids})
    save_file({"matrix": metric.matrix, "open_ended": embed(range(5))}, folder / "gate.safetensors")
    (folder / "edits.jsonl.gz").unlink()
    pack.edits.save(folder / "edits.jsonl")
    manifest = json.loads((folder / "manifest.json").read_text()) | {"schema": 2, "scale": 1.5}
    manifest["parts"] = [{"edits": "edits.jsonl", "blocks": "blocks.safetensors", "removed": []}]
    names = ("edits.jsonl", "blocks.safetensors", "gate.safetensors", "hypernetwork.safetensors")
    manifest["files"] = {name: sha256(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    gate = GateState(
        metric, Exemplars(vectors, exemplars.edit, exemplars.vector, exemplars.negative)
    )
    pack.gate = gate
    return pack


def test_a_pack_of_schema_2_loads_grows_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "p"
    old = of_schema_2(path)
    files = {name: sha256(path / name) for name in manifest_module.read(path).files}
    again = Pack.load(path)
    assert list(again.edits) == list(old.edits)
    assert torch.equal(again.blocks, old.blocks)
    same_gate(again, old)
    assert manifest_module.remove(path, ["fuji"]).schema == 2  # an earlier version may read it
    told = json.loads((path / "manifest.json").read_text())
    assert (told["layers"], told["scale"]) == ([1], 1.5)
    assert (again.layers, again.scale) == ((1,), (1.5,))
    block, found = rounded(torch.randn(1, 1, WIDTH)), Exemplars.of(embed, [["stood"]], [[]])
    made = append(path, EditSet([BERLIN]), block, found)
    assert (made.schema, made.scale) == (3, (1.5,))
    assert json.loads((path / "manifest.json").read_text())["scale"] == [1.5]
    grown = Pack.load(path)
    kept = [i for i, edit in enumerate(old.edits) if edit.id != "fuji"]
    assert torch.equal(grown.blocks, torch.cat([old.blocks[kept], block]))
    manifest_module.rollback(path, 1)
    assert torch.equal(Pack.load(path).blocks, old.blocks)
    assert {name: sha256(path / name) for name in files} == files
    assert manifest_module.verify(path, 1).schema == 2


def test_a_damaged_packed_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "edits.jsonl.gz"
    EditSet([BERLIN]).save(file)
    assert list(EditSet.load(file)) == [BERLIN]
    assert gzip.decompress(file.read_bytes()).decode().startswith('{"id": "wall"')
    first = file.read_bytes()
    EditSet([BERLIN]).save(file)
    assert file.read_bytes() == first  # no date in it
    for content in (first[:-9], first[:12], b"no archive"):
        file.write_bytes(content)
        with pytest.raises(EditFileError, match=r"edits\.jsonl\.gz: cannot be read \(.+\); give"):
            EditSet.load(file)


def test_directions_are_those_of_the_vectors() -> None:
    vectors = embed(range(50))
    codes = directions(vectors)
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    assert codes.dtype == np.int8
    assert np.all(np.abs(codes).max(1) == 127)
    assert (unit * vectors).sum(1).min() > 0.9999
    assert not directions(np.zeros((2, 3), np.float32)).any()


def test_only_questions_are_moved_to_compare() -> None:
    """`towards` and `sizes` come to the cosines of what the metric moves."""
    metric = a_pack(trained=True).gate.metric  # type: ignore[union-attr]
    asked, known = embed(range(4)), directions(embed(range(9)))
    cosines = metric(asked) @ metric(known).T
    found = metric.towards(asked) @ known.T.astype(np.float32) / metric.sizes(known)
    assert np.allclose(found, cosines, atol=1e-6)
    identity = Metric.of(np.eye(EMBEDDED, dtype=np.float32), asked, 0.5, 1.0)
    found = identity.towards(asked) @ known.T.astype(np.float32) / identity.sizes(known)
    assert np.allclose(found, identity(asked) @ identity(known).T, atol=1e-6)
    assert Metric.from_stored(identity.stored(), 0.5, 1.0).matrix.tolist() == np.eye(24).tolist()


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.1, 3.0])
def test_a_metric_is_rounded_once(size: float) -> None:
    matrix = np.eye(9, dtype=np.float32)
    matrix += size * np.random.default_rng(0).standard_normal((9, 9)).astype(np.float32)
    once = Metric.of(matrix, embed(range(2)), 0.5, 0.9)
    assert np.abs(once.matrix - matrix).max() <= max(np.abs(matrix - np.eye(9)).max() / 63, 2e-7)
    assert np.array_equal(Metric.of(once.matrix, embed(range(2)), 0.5, 0.9).matrix, once.matrix)
    stored = once.stored()
    assert "change" in stored
    assert np.array_equal(Metric.from_stored(stored, 0.5, 0.9).matrix, once.matrix)


def test_however_arrays_lie_in_memory_they_come_back(tmp_path: Path) -> None:
    table = np.arange(12, dtype=np.int8).reshape(3, 4)
    learnt.save_arrays({"column": table[:, 1], "turned": table.T}, tmp_path / "f")
    found = load_file(tmp_path / "f")
    assert found["column"].tolist() == [1, 5, 9]
    assert np.array_equal(found["turned"], table.T)


def test_equal_references_of_parts_are_kept_once() -> None:
    one = Exemplars.of(lambda texts: embed(texts), [["a", "b"]], [["c"]])
    both = Exemplars.joined([one, one], [1, 1])
    assert len(both.vectors) == 3
    assert both.edit.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(both.vectors[both.vector], np.concatenate([one.vectors[one.vector]] * 2))


def test_a_server_keeps_8_bits_and_reads_what_earlier_ones_wrote(tmp_path: Path) -> None:
    parts, blocks = Parts(tmp_path), rounded(torch.randn(2, 1, WIDTH))
    found = Exemplars.of(embed, [["a"], ["b", "c"]], [[], []])
    parts.save(1, "job", [7, 8], blocks, found)
    own, references = parts.load(1, [("job", 8), ("job", 7)])
    assert torch.equal(own, blocks[[1, 0]])
    assert references is not None
    assert references.edit.tolist().count(0) == 2
    file = tmp_path / "sets" / "1" / "learnt" / "job.safetensors"
    with safe_open(file, "numpy") as stored:
        assert stored.get_tensor("blocks").dtype == np.int8
    older = {f"references.{key}": getattr(found, key) for key in ("edit", "vector", "negative")}
    older["references.vectors"] = embed(range(3)).astype(np.float16)
    plain = torch.randn(2, WIDTH)
    older["blocks"] = plain.numpy()
    learnt.save_arrays(older, file, {"revisions": "[7, 8]"})
    own, references = parts.load(1, [("job", 7), ("job", 8)])
    assert torch.equal(own, plain[:, None])
    assert references is not None
    assert np.array_equal(references.vectors, older["references.vectors"])
    shutil.rmtree(tmp_path / "sets")


@pytest.fixture(scope="module")
def trained() -> tuple[Backbone, Pack]:
    config = TrainingConfig(layer=1, epochs=2, precision="float32", scope="entity")
    backbone = make_backbone("llama")
    return backbone, train_pack(backbone, make_edits(), config)


@pytest.mark.parametrize("refine", [False, True])
def test_training_ends_with_rounded_blocks(trained: tuple[Backbone, Pack], refine: bool) -> None:
    """So what is tested and served is what is stored."""
    backbone, pack = trained
    assert torch.equal(rounded(pack.blocks), pack.blocks)
    model = ScalpelModel(backbone, pack)
    model.add([BERLIN], refine=refine, epochs=1)
    assert torch.equal(rounded(model.blocks([BERLIN])), model.blocks([BERLIN]))
    assert torch.equal(model.blocks(pack.edits).cpu(), pack.blocks)
    assert model.in_force.bank.blocks.scales is not None
