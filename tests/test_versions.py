"""Changes of a pack: adding, removing, rolling back, and being killed meanwhile."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import make_backbone, make_edits
from filelock import FileLock
from test_cli import run

from lks.blocks.hypernetwork import HyperNetwork
from lks.editors.lks.persist import add_to
from lks.edits import profiles
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError, OutputError, PackDamaged, PackError
from lks.packs import manifest as manifest_module
from lks.packs.pack import Pack, append
from lks.packs.records import Change, Correction, Part
from lks.packs.training_summary import TrainingSummary

BERLIN = Edit("wall", "Berlin Wall", "The Berlin Wall stood in", "Lima")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    edits = make_edits()
    torch.manual_seed(0)
    Pack(
        edits=edits, blocks=torch.randn(len(edits), 1, 32),
        hypernetwork=dict(HyperNetwork(32).state_dict()),
        base_model=make_backbone("llama").fingerprint, layers=(1,), form="residual", kind="linear",
        scale=(1.5,), training=TrainingSummary(epochs=3),
    ).save(tmp_path / "facts.pack")  # fmt: skip
    return tmp_path / "facts.pack"


def held(path: Path) -> dict[str, list[float]]:
    """The blocks in force, by edit."""
    pack = Pack.load(path)
    return {edit.id: block[0].tolist() for edit, block in zip(pack.edits, pack.blocks, strict=True)}


def test_add_then_remove_is_never_added(path: Path) -> None:
    before = held(path)
    append(path, EditSet([BERLIN]), torch.ones(1, 1, 32))
    assert held(path) == before | {"wall": [1.0] * 32}
    manifest = manifest_module.remove(path, ["wall"])
    assert held(path) == before
    assert (manifest.version, manifest.edits) == (3, 4)
    append(path, EditSet([BERLIN]), torch.zeros(1, 1, 32))  # an id that is free again
    assert held(path)["wall"] == [0.0] * 32


def test_an_edit_of_the_same_prompt_takes_the_place_of_the_other(path: Path) -> None:
    before = held(path)
    again = Edit("fuji-again", "Mount Fuji", "Mount Fuji is in", "Spain")
    manifest = append(path, EditSet([BERLIN, again]), torch.ones(2, 1, 32))
    fuji = before.pop("fuji")
    assert held(path) == before | {"wall": [1.0] * 32, "fuji-again": [1.0] * 32}
    assert manifest.edits == 5
    (gone,) = manifest.change.replaced
    assert gone == Correction("fuji", "Peru", "fuji-again", "Spain")
    manifest_module.rollback(path)
    assert held(path)["fuji"] == fuji


def test_an_edit_with_an_id_in_force_takes_its_place_in_one_version(path: Path) -> None:
    before = held(path)
    again = Edit("fuji", "Mount Fuji", "The country of Mount Fuji is", "Spain")
    clash = Edit("ada", "Ada Lovelace", "Ada Lovelace was born in", "Rome")  # as another one asks
    manifest = append(
        path, EditSet([again, clash]), torch.stack([torch.ones(1, 32), torch.zeros(1, 32)])
    )
    assert (manifest.version, manifest.edits) == (2, 4)
    ada = before.pop("ada-born")
    assert held(path) == before | {"fuji": [1.0] * 32, "ada": [0.0] * 32}
    assert [(old.target, old.new_target) for old in manifest.change.replaced] == [
        ("Oslo", "Rome"), ("Peru", "Spain"),
    ]  # fmt: skip
    manifest_module.remove(path, ["fuji"])  # the new one: the old one does not come back
    assert "fuji" not in held(path)
    manifest_module.rollback(path, 1)
    assert held(path) == before | {"ada-born": ada}


def test_blocks_are_not_added_to_another_pack_that_took_its_place(path: Path) -> None:
    class Slow:
        in_force = SimpleNamespace(edits={})

        def add(self, new: EditSet, **options: object) -> EditSet:
            other = Pack.load(path)
            other.hypernetwork = dict(HyperNetwork(32).state_dict())
            other.save(path, overwrite=True)
            return new

        def blocks(self, edits: EditSet) -> torch.Tensor:
            return torch.ones(len(edits), 1, 32)

        def exemplars(self, edits: EditSet) -> None:
            return None

    with pytest.raises(OutputError, match="another pack has taken its place meanwhile"):
        add_to(path, Slow(), EditSet([BERLIN]), refine=False, epochs=None)
    assert "wall" not in held(path)


def test_removing_leaves_the_others_and_takes_several(path: Path) -> None:
    before = held(path)
    manifest_module.remove(path, ["fuji", "eiffel", "fuji"])
    assert held(path) == {key: before[key] for key in ("ada-born", "ada-tongue")}
    assert [
        edit.id for edit in manifest_module.live_edits(path, manifest_module.read(path))
    ] == list(held(path))
    manifest_module.remove(path, ["ada-born", "ada-tongue"])
    assert held(path) == {}


def test_unknown_ids_change_nothing(path: Path) -> None:
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(InputError, match='no edit "nobody", "wall" in force'):
        manifest_module.remove(path, ["fuji", "nobody", "wall"])
    manifest_module.remove(path, ["fuji"])
    with pytest.raises(InputError, match='no edit "fuji" in force'):
        manifest_module.remove(path, ["fuji"])
    assert (path / "history" / "1.json").read_bytes() == before


def test_what_is_no_pack_is_named_and_not_touched(path: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for place in (tmp_path / "mine", tmp_path / "nowhere"):
        with pytest.raises(PackError, match="not a pack"):
            manifest_module.remove(place, ["fuji"])
    assert list((tmp_path / "mine").iterdir()) == []
    (path / "blocks.safetensors").write_bytes(b"cut off")
    with pytest.raises(PackDamaged, match=r"blocks\.safetensors cannot be read"):
        manifest_module.remove(path, ["fuji"])


def test_what_a_self_test_found_goes_with_its_edits(path: Path) -> None:
    assert Pack.load(path).tested is None and manifest_module.read(path).shaky == {}
    assert "tested" not in json.loads((path / "manifest.json").read_text())
    manifest_module.remove(path, ["fuji"])  # nothing was tested, and so it stays
    assert manifest_module.read(path).tested is None
    tested = {"eiffel": (), "ada-born": ("Where from?", "born?")}
    replace(Pack.load(path), tested=tested).save(path, overwrite=True)
    assert manifest_module.read(path).shaky == {"ada-born": ["Where from?", "born?"]}
    manifest = append(path, EditSet([BERLIN]), torch.ones(1, 1, 32), tested={"wall": ("Wall?",)})
    assert list(manifest.shaky) == ["ada-born", "wall"]
    other = replace(BERLIN, target="Oslo")
    assert list(append(path, EditSet([other]), torch.ones(1, 1, 32)).shaky) == ["ada-born"]
    assert "wall" not in (manifest_module.read(path).tested or {})
    assert manifest_module.remove(path, ["ada-born"]).tested == {"eiffel": []}
    assert manifest_module.rollback(path, 2).shaky == json.loads(json.dumps(manifest.shaky))


def test_rollback_is_a_new_version_with_an_old_list(path: Path) -> None:
    first = held(path)
    append(path, EditSet([BERLIN]), torch.ones(1, 1, 32))
    second = held(path)
    manifest_module.remove(path, ["eiffel"])
    manifest_module.rollback(path)
    assert held(path) == second
    manifest_module.rollback(path, 1)
    assert held(path) == first
    with pytest.raises(InputError, match="no version 9; there are 1 to 5"):
        manifest_module.rollback(path, 9)
    log = manifest_module.history(path)
    actions = [manifest.change.action for manifest in log]
    assert actions == ["rollback to 1", "rollback to 2", "remove", "add", "train"]
    assert [manifest.version for manifest in log] == [5, 4, 3, 2, 1]
    assert log[2].change.edits == ("eiffel",)


def test_rollback_undoes_one_change_more_each_time(path: Path) -> None:
    states = [held(path)]
    for number in range(3):
        edit = Edit(f"wall{number}", "Berlin Wall", f"The Berlin Wall {number} stood in", "Lima")
        append(path, EditSet([edit]), torch.ones(1, 1, 32))
        states.append(held(path))
    manifest_module.rollback(path)
    assert held(path) == states[2]
    manifest_module.rollback(path)
    assert held(path) == states[1]
    manifest_module.remove(path, ["eiffel"])  # a change after an undo is undone first
    manifest_module.rollback(path)
    assert held(path) == states[1]
    manifest_module.rollback(path)
    assert held(path) == states[0]
    before = manifest_module.read(path)
    with pytest.raises(
        InputError, match=r"nothing left to undo, .* --to goes to any version, 1 to"
    ):
        manifest_module.rollback(path)
    assert manifest_module.read(path) == before
    manifest_module.rollback(path, 4)
    assert held(path) == states[3]
    manifest_module.rollback(path)
    assert held(path) == states[2]


def test_the_history_is_checked(path: Path) -> None:
    manifest_module.remove(path, ["fuji"])
    old = path / "history" / "1.json"
    old.write_text(old.read_text().replace("fuji", "etna") + " ")
    with pytest.raises(PackDamaged, match=r"history/1\.json is missing or changed"):
        Pack.load(path)


def test_a_full_disk_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = held(path)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest_module, "write_manifest", full)
    with pytest.raises(OutputError, match="No space left on device"):
        manifest_module.remove(path, ["fuji"])
    with pytest.raises(OutputError, match="No space left on device"):
        append(path, EditSet([BERLIN]), torch.ones(1, 1, 32))
    assert held(path) == before


def test_one_change_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "LOCK_SECONDS", 0)
    with FileLock(path / ".lock"):
        with pytest.raises(OutputError, match="another process is changing it"):
            manifest_module.remove(path, ["fuji"])
    manifest_module.remove(path, ["fuji"])


def _change_for_ever(path: Path) -> None:
    for number in range(10**6):
        edit = Edit(f"e{number}", "Berlin Wall", "The Berlin Wall stood in", "Lima")
        append(path, EditSet([edit]), torch.full((1, 1, 32), float(number)))
        manifest_module.remove(path, [edit.id])


def test_killed_at_any_moment_a_pack_is_whole(path: Path, tmp_path: Path) -> None:
    rng, before, changed = random.Random(0), held(path), 0
    for attempt in range(12):
        copy = tmp_path / f"copy{attempt}.pack"
        shutil.copytree(path, copy)
        process = multiprocessing.get_context("fork").Process(target=_change_for_ever, args=(copy,))
        process.start()
        while (
            attempt % 2 and manifest_module.read(copy).version == 1
        ):  # however slow the machine is
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        after = held(copy)
        assert len(after) in (4, 5)
        assert {key: after[key] for key in before} == before
        changed += manifest_module.read(copy).version > 1
        manifest_module.remove(copy, ["fuji"])  # and it can be changed further
        json.loads((copy / "manifest.json").read_text())
    assert changed >= 6


def test_keys_of_a_later_version_are_kept(path: Path) -> None:
    append(path, EditSet([BERLIN]), torch.ones(1, 1, 32))
    file = path / manifest_module.MANIFEST
    later = json.loads(file.read_text())
    for record in (later, *(later[key] for key in ("base_model", "training", "scope"))):
        record["of_a_later_version"] = {"any": [1, None]}
    later["parts"][1]["of_a_later_version"] = later["change"]["of_a_later_version"] = "x"
    file.write_text(json.dumps(later))
    assert manifest_module.read(path).to_json() == later
    manifest_module.remove(path, ["fuji"])
    now = json.loads(file.read_text())
    assert manifest_module.history(path)[1].to_json() == later
    changed = ("version", "parent", "change", "edits", "parts")
    assert {k: v for k, v in now.items() if k not in changed} == {
        k: v for k, v in later.items() if k not in changed
    }
    assert now["parts"][1] == later["parts"][1]


def test_the_log_of_an_early_pack_tells_ids_alone(path: Path) -> None:
    file = path / manifest_module.MANIFEST
    early = json.loads(file.read_text())
    early["change"]["replaced"] = ["fuji"]
    del early["scope"], early["base_model"]["settings"], early["base_model"]["adapters"]
    file.write_text(json.dumps(early))
    manifest = manifest_module.read(path)
    assert manifest.change.replaced == (Correction("fuji"),)
    assert not manifest.scope.gated
    assert Pack.load(path).base_model.settings is None


@pytest.mark.parametrize("wrong", [{"parts": 3}, {"base_model": []}, {"change": None}])
def test_a_manifest_of_other_values_is_damaged(path: Path, wrong: dict[str, object]) -> None:
    file = path / manifest_module.MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | wrong))
    with pytest.raises(PackDamaged, match=r"manifest\.json cannot be read"):
        manifest_module.read(path)


def test_a_record_tells_what_is_no_record() -> None:
    told = {"edits": "e", "blocks": "b", "removed": ["x"], "later": 1}
    part = Part.from_json(told)
    assert part.removed == ("x",)
    assert part.to_json() == told  # keys of another version stay
    for key, value in (("removed", "x"), ("removed", None)):
        with pytest.raises(TypeError, match="no list"):
            Part.from_json(told | {key: value})
    change = {"action": "add", "count": 1, "edits": ["x"], "at": "now", "replaced": ["old", 3]}
    with pytest.raises(TypeError, match="no object"):
        Change.from_json(change)
    change["replaced"] = ["old", {"id": "older", "target": "Rome"}]
    assert [one.id for one in Change.from_json(change).replaced] == ["old", "older"]


def test_a_profile_that_is_out_of_force_is_no_edit_in_counts(path: Path) -> None:
    made = profiles.missing(make_edits(), ["Ada Lovelace"])
    manifest = append(path, EditSet(made), torch.ones(1, 1, 32))
    assert manifest.edits == 5
    manifest = manifest_module.remove(path, ["ada-born"])
    assert manifest.edits == 3, "its profile is out of force with it"
    assert run("pack", "verify", path)[1] == f"{path}: 3 edits, all files as they were saved\n"
    assert ["edits", "3, 1 profile out of force"] in [
        line.split(None, 1) for line in run("pack", "info", path)[1].splitlines()
    ]
    assert manifest_module.remove(path, [made[0].id]).edits == 3
    assert [made.edits for made in manifest_module.history(path)] == [3, 3, 5, 4]
    assert manifest_module.rollback(path, 2).edits == 5
    held = Pack.load(path)
    left = EditSet(edit for edit in held.edits if edit.id != "ada-born")
    Pack(**{**vars(held), "edits": left, "blocks": held.blocks[: len(left)]}).save(
        path, overwrite=True
    )
    assert manifest_module.read(path).edits == len(left) - 1
    assert len(Pack.load(path).edits) == len(left), "it is still there"
