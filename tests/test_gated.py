"""Packs with a relation gate, from training to the command line, on a tiny model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import make_backbone, make_edits
from test_cli import one_line, run

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet, EditWarning
from lks.errors import InputError, PackDamaged
from lks.model.backbone import Backbone
from lks.packs.pack import Pack, append
from lks.scope.inspect import conflicts
from lks.scope.scope import Scope
from lks.scope.types import Finding
from lks.training.config import TrainingConfig
from lks.training.progress import Epoch
from lks.training.train_pack import train_pack

BORN, SPEAKS = "Ada Lovelace was born in", "The native language of Ada Lovelace is"
ELSE, OPEN = "Who built Ada Lovelace high there?", "Tell me about Ada Lovelace"
NEW = Edit("ada-job", "Ada Lovelace", "Ada Lovelace worked as a", "London")


@pytest.fixture(scope="module")
def trained(embedder_folder: Path) -> tuple[Backbone, Pack]:
    config = TrainingConfig(
        layer=1, epochs=20, lr=1e-2, refine_lr=5e-2, batch_size=2, precision="float32", patience=0,
        embedder=str(embedder_folder),
    )  # fmt: skip
    backbone = make_backbone("llama", chat=True)
    return backbone, train_pack(backbone, make_edits(), config)


@pytest.fixture
def model(trained: tuple[Backbone, Pack]) -> ScalpelModel:
    return ScalpelModel(*trained)


def test_an_edit_fires_alone_and_only_where_it_is_asked(model: ScalpelModel) -> None:
    assert model.triggered([BORN, SPEAKS, ELSE, "Where?"]) == [True, True, False, False]
    mention = model.examine(BORN)[0].mention
    assert (mention.edit_ids, mention.gate) == (("ada-born",), pytest.approx(1, abs=1e-3))
    asked = [(BORN, "Oslo"), (SPEAKS, "Spanish"), (ELSE, "Oslo")]
    both = model.score(asked)
    model.remove("ada-tongue")  # one id will do as it is
    assert model.score(asked)[0] == both[0]  # what the other fact says has no part in it
    model.remove([edit.id for edit in make_edits() if edit.id != "ada-tongue"])
    base = model.score(asked)
    assert both[2] == base[2]
    assert both[0].logprobs[0] > base[0].logprobs[0]


def test_locality_prompts_are_not_trained_where_the_gate_keeps_them_away(
    trained: tuple[Backbone, Pack],
) -> None:
    assert trained[1].training.losses["locality"] == 0
    assert trained[1].training.config["w_loc"] == 0


def test_what_is_saved_comes_back(trained: tuple[Backbone, Pack], tmp_path: Path) -> None:
    backbone, pack = trained
    pack.save(tmp_path / "p")
    again = Pack.load(tmp_path / "p")
    assert pack.gate is not None
    assert again.gate is not None
    assert np.array_equal(again.gate.metric.matrix, pack.gate.metric.matrix)
    assert again.gate.metric.threshold == pack.gate.metric.threshold
    asked = [(BORN, "Oslo"), (ELSE, "Oslo")]
    ours, theirs = (ScalpelModel(backbone, p).score(asked) for p in (pack, again))
    assert ours == theirs
    (tmp_path / "p" / "gate.safetensors").unlink()
    with pytest.raises(PackDamaged, match=r"gate\.safetensors is missing"):
        Pack.load(tmp_path / "p")


def test_edits_that_contradict_each_other_are_told(
    model: ScalpelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Edit("ada-again", "Ada Lovelace", "Ada Lovelace was truly born in", "Rome")
    with pytest.warns(EditWarning, match=r"ada-again: Rome\) asks for ada-born \(Oslo\) too"):
        model.add([again], refine=False)
    (born,) = (edit for edit in model.pack.edits if edit.id == "ada-born")
    assert model.contradicted([again, born, NEW]) == {"ada-again", "ada-born"}
    assert model.contradicted([born]) == {"ada-born"}
    with monkeypatch.context() as patched:
        patched.setattr(conflicts, "CLEAR", 1.01)  # another relation, if a near one
        assert model.contradicted([again, born]) == set()
    left_out = Edit("ada-before", born.subject, born.prompt, "Lima")
    assert model.contradicted([left_out]) == {"ada-before"}
    assert model.contradicted([edit for edit in model.pack.edits if edit != born]) == set()
    same = Edit("ada-same", "Ada Lovelace", "Ada Lovelace was born in", "Rome ")
    with warnings.catch_warnings():
        warnings.simplefilter("error", EditWarning)
        model.remove(["ada-born"])
        model.add([same], refine=False)


def test_a_corrected_fact_takes_the_place_of_the_old_one(
    trained: tuple[Backbone, Pack], model: ScalpelModel, tmp_path: Path
) -> None:
    backbone, pack = trained
    pack.save(tmp_path / "p")
    again = EditSet([Edit("ada-again", "Ada Lovelace", BORN, "Rome"), NEW])
    asked, others = [(BORN, "Rome"), (NEW.prompt, "London")], [(SPEAKS, "Spanish")]
    before = model.score(others)
    with warnings.catch_warnings():
        warnings.simplefilter("error", EditWarning)
        model.add(again, refine=False)
    fired = [model.examine(prompt)[0].mention.edit_ids for prompt, _ in asked]
    assert fired == [("ada-again",), ("ada-job",)]
    assert model.score(others) == before
    append(tmp_path / "p", again, model.blocks(again), model.exemplars(again))
    assert ScalpelModel(backbone, Pack.load(tmp_path / "p")).score(asked) == model.score(asked)


def test_added_edits_fire_and_go_away_again(
    trained: tuple[Backbone, Pack], model: ScalpelModel, tmp_path: Path
) -> None:
    backbone, pack = trained
    pack.save(tmp_path / "p")
    asked = [(BORN, "Oslo"), (NEW.prompt, "London"), (ELSE, "Oslo")]
    before = model.score(asked)
    model.add([NEW], refine=False)
    assert model.examine(NEW.prompt)[0].mention.edit_ids == ("ada-job",)
    assert model.score(asked)[0] == before[0]
    with pytest.raises(InputError, match="has a relation gate; give the exemplars"):
        append(tmp_path / "p", EditSet([NEW]), model.blocks([NEW]))
    append(tmp_path / "p", EditSet([NEW]), model.blocks([NEW]), model.exemplars([NEW]))
    loaded = ScalpelModel(backbone, Pack.load(tmp_path / "p"))
    assert loaded.score(asked) == model.score(asked)
    model.remove(["ada-job"])
    assert model.score(asked) == before
    model.add([NEW], refine=False)  # once more, after it was taken out
    assert model.score(asked) == loaded.score(asked)


def test_the_command_line(
    model_folder: Path, embedder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_edits().save("facts.jsonl")
    quick = ["--layer", 1, "--epochs", 2, "--threads", 1, "--quiet", "--embedder", embedder_folder]
    code, _, err = run("edit", "facts.jsonl", "--model", model_folder, "--out", "p", *quick)
    assert code == 0, err
    info = json.loads(run("pack", "info", "p", "--json")[1])
    assert info["scope"]["kind"] == "relation"
    asked = json.loads(run("ask", "p", BORN, "--json", "--max-new-tokens", 4)[1])
    assert [mention["edit_ids"] for mention in asked["fired"]] == [["ada-born"]]
    asked = json.loads(run("ask", "p", ELSE, "--json", "--max-new-tokens", 4)[1])
    assert asked["fired"] == []
    assert asked["before"] == asked["after"]
    (found,) = json.loads(run("scope", "p", BORN, "--json")[1])["mentions"]
    assert [(v["edit_id"], v["fired"]) for v in found["decisions"]] == [
        ("ada-born", True), ("ada-tongue", False),
    ]  # fmt: skip
    assert "ada-born did not fire: below the threshold" in run("scope", "p", ELSE)[1]
    run("pack", "threshold", "p", 0.05)
    assert "threshold 0.05" in run("scope", "p", ELSE)[1]
    assert run("pack", "threshold", "p")[0] == 2
    run("pack", "rollback", "p")
    assert "ada-born did not fire: below the threshold" in run("scope", "p", ELSE)[1]
    code, _, err = run("edit", "facts.jsonl", "--out", "q", *quick[:-1], "nowhere", "--model",
                       model_folder)  # fmt: skip
    assert code == 2
    assert "unknown embedder 'nowhere'" in one_line(err)


def test_a_profile_rests_while_the_facts_are_others(model: ScalpelModel) -> None:
    asked = [(OPEN, "Oslo"), (BORN, "Oslo"), (SPEAKS, "Spanish")]
    unedited, before = UneditedModel(model.backbone).score(asked), model.score(asked)
    assert (before[0], model.triggered([OPEN])) == (unedited[0], [False])
    (profile,) = model.add_profiles(["Ada Lovelace"], epochs=1)
    assert model.examine(OPEN)[0].mention.edit_ids == (profile.id,)
    profiled = model.score(asked)
    assert profiled[1:] == before[1:]
    assert profiled[0] != before[0]
    model.add([NEW], refine=False)
    assert model.score(asked) == before
    model.remove(["ada-job"])
    assert model.score(asked) == profiled
    assert len(model.add_profiles(["ada lovelace"])) == 0
    with pytest.raises(InputError, match='no edit is about "Ada"'):
        model.add_profiles(["Ada"])


def test_a_profile_learns_to_state_the_facts(model: ScalpelModel) -> None:
    seen: list[Epoch] = []
    (profile,) = model.add_profiles(["Ada Lovelace"], epochs=8, on_epoch=seen.append)
    assert seen[-1].reliability < seen[0].reliability
    unedited = UneditedModel(model.backbone)
    stated = [(OPEN, profile.target)]
    assert sum(model.score(stated)[0].logprobs) > sum(unedited.score(stated)[0].logprobs)


def test_profiles_on_the_command_line(
    trained: tuple[Backbone, Pack], model_folder: Path, embedder_folder: Path, tmp_path: Path
) -> None:
    make_edits().save(tmp_path / "facts.jsonl")
    pack, model = tmp_path / "p", ["--model", model_folder]
    quick = ["--layer", 1, "--epochs", 1, "--threads", 1, "--quiet"]
    for kind in ("entity", "relation"):
        out = ["--out", pack, "--overwrite", "--scope", kind, "--embedder", embedder_folder]
        assert run("edit", tmp_path / "facts.jsonl", *out, *model, *quick)[0] == 0
        few = ["--entity", "Ada Lovelace", "--epochs", 1, "--quiet"]
        code, out, err = run("profiles", pack, *few)
        if kind == "entity":
            assert (code, "profiles need a relation gate" in one_line(err)) == (2, True)
    assert (code, out) == (1, "")
    assert "1 of 1 not learnt and not in force: profile-" in one_line(err)
    assert "(Ada Lovelace); try more --epochs" in one_line(err)
    assert "no profile in force" in run("scope", pack, OPEN)[1]
    code, out, err = run("profiles", pack, *few, "--unchecked")
    assert code == 0, err
    assert "1 profile made" in out
    (found,) = json.loads(run("scope", pack, OPEN, "--json")[1])["mentions"]
    assert [edit_id.split("-")[0] for edit_id in found["edit_ids"]] == ["profile"]
    again = ["profiles", pack, "--entity", "Ada Lovelace"]
    code, out, err = run(*again)
    assert (code, "is there already" in out) == (0, True)
    code, _, err = run(*again, "--strict")
    assert code == 1, "what was kept unchecked is not learnt"
    assert "1 of 1 profile not learnt, though in force: profile-" in one_line(err)
    assert "no edit is about" in one_line(run("profiles", pack, "--entity", "Nobody")[2])
    run("remove", pack, "ada-born")
    assert "open-ended request, and no profile in force" in run("scope", pack, OPEN)[1]
    run("pack", "rollback", pack)
    assert run("scope", pack, OPEN, "--json")[1].count("profile-") == 2


def test_a_report_over_a_file_of_texts(embedder_folder: Path, tmp_path: Path) -> None:
    make_edits().save(tmp_path / "facts.jsonl")
    texts = [BORN, ELSE, "Nothing\u2028here.", "Who built Ada Lovelace?", "Is Ava Lovelace well?"]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    source = ["scope", tmp_path / "facts.jsonl", "--file", tmp_path / "texts.txt", "--report"]
    code, out, err = run(*source, "--embedder", embedder_folder, "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["texts"] == 5
    assert summary["per_1000"] == {"fired": 200.0, "named": 600.0}
    assert summary["most_triggered"] == [{"edit_id": "ada-born", "texts": 1}]
    assert [row["surface"] for row in summary["names_refused"]] == ["Ava Lovelace"]
    assert "of 1,000, 200.0 fired" in run(*source, "--embedder", embedder_folder)[1]
    everything = json.loads(run(*source, "--scope", "entity", "--json")[1])
    assert everything["per_1000"]["fired"] == 600.0
    assert run("scope", tmp_path / "facts.jsonl", "x", "--report")[0] == 2


def test_a_follow_up_in_a_chat_fires_at_the_name_said_before(model: ScalpelModel) -> None:
    chat = [
        {"role": "user", "content": "Tall people built Ada Lovelace high there."},
        {"role": "assistant", "content": "Many people live there."},
        {"role": "user", "content": "Where was she born?"},
    ]
    others = [{**chat[0], "content": "Tall people built many high there."}, *chat[1:]]
    assert model.triggered([chat, chat[:2], others]) == [True, False, False]
    unedited = UneditedModel(model.backbone)
    asked = [(chat, "Oslo"), (others, "Oslo")]
    (edited, same), (base, other) = (m.score(asked, chat=True) for m in (model, unedited))
    assert edited != base
    assert same == other
    assert model.generate([chat], chat=True, max_new_tokens=3)


def test_only_some_roles_are_scanned(trained: tuple[Backbone, Pack]) -> None:
    chat = [{"role": "assistant", "content": "Tall people built Ada Lovelace high there."},
            {"role": "user", "content": "Where was she born?"}]  # fmt: skip
    assert ScalpelModel(*trained).triggered([chat]) == [True]
    users = ScalpelModel(*trained, roles=["user"])
    assert users.triggered([chat]) == [False]
    unedited = UneditedModel(trained[0])
    assert users.score([(chat, "Oslo")], chat=True) == unedited.score([(chat, "Oslo")], chat=True)


def _told(findings: Sequence[Finding]) -> list[tuple]:
    """Without scores, whose last bits depend on what else is in the batch."""
    mentions = [finding.mention for finding in findings]
    return [(m.edit_ids, m.surface, m.start, m.end, m.fired) for m in mentions]


def test_a_text_tells_what_fired_without_a_second_look(
    model: ScalpelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = ["What is it?", BORN, "How high is Mount Fuji? Ada Lovelace was tall."]
    expected = [_told(model.examine(prompt)) for prompt in prompts]
    assert [bool(found) for found in expected] == [False, True, True]
    looks, examine = [], Scope.examine

    def counted(self: Scope, texts: list[str]) -> list:
        looks.extend(texts)
        return examine(self, texts)

    monkeypatch.setattr(Scope, "examine", counted)
    for chat in (False, True):
        looks.clear()
        written = model.respond(prompts, max_new_tokens=3, chat=chat)
        assert [_told(text.findings) for text in written] == expected
        assert sorted(looks) == sorted(prompts)
    assert UneditedModel(model.backbone).respond([BORN], max_new_tokens=3)[0].findings == ()


def test_one_text_is_written_a_prompt(model: ScalpelModel) -> None:
    for wrong, settings in ((BORN, {}), ([BORN], {"num_beams": 2, "num_return_sequences": 2})):
        for rescan in (False, True):
            with pytest.raises(InputError, match=r"put the one in brackets|one text a prompt"):
                model.generate(wrong, rescan=rescan, max_new_tokens=3, **settings)
