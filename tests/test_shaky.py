"""After a self-test: facts trained again, packs that keep what failed, and the commands."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_backbone, make_edits
from test_cli import QUICK, one_line, run

from lks.editors.lks.model import ScalpelModel
from lks.editors.lks.persist import as_tested, self_test_in
from lks.edits.edit import Edit, Probe
from lks.edits.edit_set import EditSet
from lks.packs import manifest as manifest_module
from lks.packs.pack import Pack
from lks.packs.records import Tested
from lks.training import prompts
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

BORN, SPEAKS = "Ada Lovelace was born in", "The native language of Ada Lovelace is"


@pytest.fixture
def model(embedder_folder: Path) -> ScalpelModel:
    config = TrainingConfig(layer=1, epochs=6, batch_size=2, embedder=str(embedder_folder))
    backbone = make_backbone("llama", chat=True)
    return ScalpelModel(backbone, train_pack(backbone, make_edits(), config))


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    make_edits().save(tmp_path / "facts.jsonl")
    return tmp_path / "facts.jsonl"


@pytest.fixture(scope="module")
def trained(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    make_edits().save(folder / "facts.jsonl")
    edit = ["edit", folder / "facts.jsonl", "--model", model_folder, "--out", folder / "p"]
    assert run(*edit, *QUICK, "--no-self-test")[0] == 0
    return folder / "p"


@pytest.fixture
def untested(trained: Path, tmp_path: Path) -> Path:
    """A pack that was not tested, the test's own."""
    return shutil.copytree(trained, tmp_path / "p")


def test_an_edit_trained_again_fires_in_new_words_and_no_other_changes(
    model: ScalpelModel,
) -> None:
    words, other = "How old was Ada Lovelace there?", "Where was Ada Lovelace born high?"
    edits, asked = make_edits(), [(BORN, "Oslo"), (SPEAKS, "Spanish")]
    ada, rest = edits.by_id("ada-born"), [edit for edit in edits if edit.id != "ada-born"]
    before, scores, was = model.in_force, model.score(asked), model.blocks(rest)
    assert model.triggered([words, other]) == [False, True]
    taught = replace(ada, paraphrases=(*ada.paraphrases, words), locality=(Probe(other),))
    take_back = model.retrain([taught])
    assert model.examine(words)[0].mention.edit_ids == ("ada-born",)
    assert model.triggered([words, other, SPEAKS]) == [True, False, True]
    assert model.in_force.edits["ada-born"] == ada
    assert torch.equal(model.blocks(rest), was)
    assert not torch.equal(model.blocks([ada]), before.bank.of_edits([ada.id]))
    again = as_tested(model, {"ada-born": (words,)})
    assert list(again.edits) == list(edits)
    assert ScalpelModel(model.backbone, again).score(asked) == model.score(asked)
    assert again.tested == {"ada-born": (words,)}
    take_back([])
    assert model.triggered([words]) == [True]
    take_back(["ada-born"])
    assert model.triggered([words]) == [False]
    assert model.score(asked) == scores
    assert torch.equal(model.blocks(edits), before.bank.of_edits(edit.id for edit in edits))
    with pytest.raises(KeyError):
        model.retrain([Edit("ada-job", "Ada Lovelace", "Ada Lovelace worked as a", "London")])


def test_what_the_self_test_finds_is_told_and_kept(model_folder: Path, facts: Path) -> None:
    out = facts.parent / "p"
    edit = ["edit", facts, "--model", model_folder, "--out", out, "--overwrite", *QUICK]
    code, text, err = run(*edit, "--json", "--strict")
    found = json.loads(text)["self_test"]
    failed = {fact["id"]: fact["failed"] for fact in found["facts"] if fact["failed"]}
    assert (code, found["of"], len(found["facts"])) == (1, 4, 4)
    assert failed, "four epochs teach a random model little"
    assert f"{out}: {len(failed)} of 4 facts shaky, though in force: " in one_line(err)
    info = json.loads(run("pack", "info", out, "--json")[1])
    assert info["shaky"] == {i: [one["wording"] for one in own] for i, own in failed.items()}
    assert (info["version"], info["edits"]) == (1, 4)
    assert f"4 of 4 edits asked, {len(failed)} shaky: " in run("pack", "info", out)[1]
    code, text, _ = run(*edit)
    assert code == 0
    first = next(iter(failed))
    assert f"  {first} (" in text and failed[first][0]["wording"] in text
    assert "give these facts paraphrases" in text
    code, text, _ = run(*edit, "--no-self-test")
    assert (code, len(text.splitlines())) == (0, 1)
    assert "self-test     none" in run("pack", "info", out)[1]
    code, _, err = run(*edit, "--no-self-test", "--strict")
    assert (code, "leave out --no-self-test" in one_line(err)) == (2, True)


def test_facts_that_do_not_hold_are_named(untested: Path, facts: Path) -> None:
    ask = ["eval", untested, "--data", facts, "--max-new-tokens", 4, "--quiet"]
    code, text, err = run(*ask, "--json")
    failing = json.loads(text)["failing"]
    assert code == 0 and failing
    first, (prompt, *_) = next(iter(failing.items()))
    does = "does" if len(failing) == 1 else "do"
    assert f'{len(failing)} of 4 facts {does} not hold: {first} ("{prompt}" -> "' in err
    code, _, err = run(*ask, "--strict")
    assert (code, f'{first} ("{prompt}"' in one_line(err)) == (1, True)


def test_added_facts_are_tested(untested: Path, tmp_path: Path) -> None:
    out, more = untested, tmp_path / "more.jsonl"
    EditSet([Edit("wall", "Berlin Wall", "The Berlin Wall stood in", "Lima")]).save(more)
    add = ["add", out, more, "--no-refine", "--unchecked", "--threads", 1, "--quiet"]
    code, text, err = run(*add, "--strict", "--json")
    found = json.loads(text)["self_test"]
    assert (code, "1 of 1 fact shaky, though in force" in one_line(err)) == (1, True)
    assert (found["of"], found["retrained"]) == (1, []), "--no-refine trains nothing again"
    (failed,) = manifest_module.read(out).shaky.values()
    assert failed == [one["wording"] for one in found["facts"][0]["failed"]]
    EditSet([Edit("wall", "Berlin Wall", "The Berlin Wall stood in", "Rome")]).save(more)
    code, text, _ = run(*add, "--no-self-test")
    assert (code, len(text.splitlines())) == (0, 1)
    assert manifest_module.read(out).tested == {}, "the new one was not tested"
    manifest_module.remove(out, ["wall"])
    assert "better for training again, 1 shaky" in run(*add)[1]


def test_what_a_self_test_trains_again_is_a_version_of_its_own(
    model: ScalpelModel, tmp_path: Path
) -> None:
    words, asked = "How old was Ada Lovelace there?", [(BORN, "Oslo"), (SPEAKS, "Spanish")]
    model.pack.save(tmp_path / "p")
    ada = model.in_force.edits["ada-born"]

    def test(edits: EditSet) -> Tested:
        assert list(edits) == list(make_edits())
        model.retrain([replace(ada, paraphrases=(*ada.paraphrases, words))])
        return {"ada-born": (words,), "fuji": ()}

    manifest = self_test_in(tmp_path / "p", model, make_edits(), test)
    assert (manifest.version, manifest.edits) == (2, 4)
    assert (manifest.change.action, manifest.change.edits) == ("self-test", ("ada-born",))
    assert manifest.change.replaced == (), "the fact is the same"
    assert run("pack", "log", tmp_path / "p")[1].splitlines()[0].endswith("self-test    ada-born")
    assert manifest.tested == {"ada-born": (words,), "fuji": ()}
    again = ScalpelModel(model.backbone, Pack.load(tmp_path / "p"))
    assert again.score(asked) == model.score(asked)
    assert again.triggered([words, BORN]) == [True, True]
    rest = [edit for edit in make_edits() if edit != ada]
    assert torch.equal(again.blocks(rest), model.blocks(rest))
    manifest_module.rollback(tmp_path / "p")
    back = ScalpelModel(model.backbone, Pack.load(tmp_path / "p"))
    assert back.triggered([words, BORN]) == [False, True]


def stopped(*args: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_self_test_can_be_made_up_for(
    model_folder: Path, facts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = facts.parent / "p"
    edit = ["edit", facts, "--model", model_folder, "--out", out, "--overwrite", *QUICK]
    run(*edit)
    whole = manifest_module.read(out).tested
    with monkeypatch.context() as patched:
        patched.setattr("lks.evaluation.self_test.self_test", stopped)
        code, _, err = run(*edit)
        assert (code, f"`lks self-test {out}` goes on with the test" in one_line(err)) == (1, True)
        blocks = Pack.load(out).blocks
        code, _, err = run("self-test", out)
        assert (code, f"{out} is as it was, and the same command" in one_line(err)) == (1, True)
    assert (manifest_module.read(out).version, manifest_module.read(out).tested) == (1, None)
    monkeypatch.setattr("lks.training.run.train_pack", None)  # nothing is trained from nothing
    code, text, _ = run("self-test", out, "--threads", 1, "--json")
    told = json.loads(text)
    manifest = manifest_module.read(out)
    assert (code, told["version"], len(told["self_test"]["facts"])) == (0, 2, 4)
    assert manifest.tested == whole and manifest.change.action == "self-test"
    assert manifest.edits == 4
    again = set(told["self_test"]["retrained"])
    held = Pack.load(out)
    was = dict(zip([edit.id for edit in make_edits()], blocks, strict=True))
    for edit, block in zip(held.edits, held.blocks, strict=True):
        assert torch.equal(block, was[edit.id]) == (edit.id not in again)
    code, text, _ = run("self-test", out)
    assert (code, "every fact was asked before; --again" in text) == (0, True)
    code, _, err = run("self-test", out, "--strict")
    assert (code, " of 4 facts shaky, though in force: " in one_line(err)) == (1, True)
    code, text, _ = run("self-test", out, "--again", "--threads", 1)
    assert (code, text.startswith("self-test: 4 facts asked in")) == (0, True)
    assert text.endswith(f"{out}: 4 edits, version 3\n")
    assert "self-test" in run("pack", "log", out)[1].splitlines()[0]


def test_an_interrupted_self_test_of_added_facts_keeps_them(
    model_folder: Path, facts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, more = facts.parent / "p", facts.parent / "more.jsonl"
    run("edit", facts, "--model", model_folder, "--out", out, *QUICK)
    before = manifest_module.read(out).tested
    EditSet([Edit("wall", "Berlin Wall", "The Berlin Wall stood in", "Lima")]).save(more)
    with monkeypatch.context() as patched:
        patched.setattr("lks.evaluation.self_test.self_test", stopped)
        code, _, err = run("add", out, more, "--no-refine", "--unchecked", "--threads", 1)
    said = f"1 edit added, version 2; `lks self-test {out}` tests what was not tested"
    assert (code, said in one_line(err)) == (1, True)
    assert manifest_module.read(out).tested == before
    assert [edit.id for edit in Pack.load(out).edits][-1] == "wall"
    told = json.loads(run("self-test", out, "--threads", 1, "--json")[1])
    assert [fact["id"] for fact in told["self_test"]["facts"]] == ["wall"]
    assert set(manifest_module.read(out).tested or ()) == {*(before or ()), "wall"}


def test_what_training_saw_is_not_looked_for_again(
    model_folder: Path, embedder_folder: Path, facts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, look = [], prompts.nearest_relations

    def counted(*given: object) -> object:
        looked.append(given)
        return look(*given)

    monkeypatch.setattr(prompts, "nearest_relations", counted)
    options = ["--embedder", embedder_folder, "--layer", 1, "--epochs", 1, "--threads", 1]
    out = ["--model", model_folder, "--out", facts.parent / "p", *options, "--no-self-test"]
    assert run("edit", facts, *out, "--quiet")[0] == 0
    # training again would look for those of the prompts that it is given
    monkeypatch.setattr("lks.evaluation.self_test.Retrains", type(None))
    assert run("edit", facts, *out[:-1], "--overwrite", "--quiet")[0] == 0
    assert len(looked) == 2
