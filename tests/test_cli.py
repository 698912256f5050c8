"""The command line as a person meets it, on a tiny model saved to a folder."""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import make_edits

from lks.cli import app
from lks.cli.options import Machine, load_edited
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import LKSError

QUICK = ["--layer", "1", "--epochs", "4", "--quiet", "--threads", "1", "--scope", "entity"]


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    make_edits().save(tmp_path / "facts.jsonl")
    return tmp_path / "facts.jsonl"


@pytest.fixture(scope="module")
def pack(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packs")
    make_edits().save(folder / "facts.jsonl")
    out = folder / "facts.pack"
    code, *_ = run("edit", folder / "facts.jsonl", "--model", model_folder, "--out", out, *QUICK)
    assert code == 0
    return out


def run(*args: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command, run in this process."""
    import contextlib

    out, err = io.StringIO(), io.StringIO()
    old = sys.argv
    sys.argv = ["lks", *map(str, args)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                app.main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
    finally:
        sys.argv = old
        gc.unfreeze()  # what lasts as long as a command's process is no more needed in this one
    return code, out.getvalue(), err.getvalue()


def one_line(err: str) -> str:
    """The message: one line, of ours."""
    lines = err.strip().splitlines()
    assert lines[-1].startswith("lks: ")
    assert "Traceback" not in err
    return lines[-1]


def test_edit_prints_what_scripts_rely_on(model_folder: Path, facts: Path) -> None:
    out = facts.parent / "new" / "facts.pack"
    code, text, _ = run("edit", facts, "--model", model_folder, "--out", out, *QUICK, "--json")
    result = json.loads(text)
    assert code == 0
    assert result["pack"] == str(out)
    assert (result["edits"], result["layers"]) == (4, [1])
    assert result["peak_memory_bytes"] > 1e6
    assert set(result["losses"]) == {"reliability", "generality", "locality"}
    assert [p.name for p in out.parent.iterdir()] == ["facts.pack"]  # no checkpoint is left


def test_ask(pack: Path) -> None:
    code, text, _ = run("ask", pack, "Where is the Eiffel Tower?", "--json", "--max-new-tokens", 4)
    result = json.loads(text)
    assert code == 0
    assert set(result) == {"prompt", "before", "after", "fired", "mentions"}
    (mention,) = result["fired"]
    assert mention == {
        "edit_ids": ["eiffel"], "subject": "Eiffel Tower", "surface": "Eiffel Tower", "start": 13,
        "end": 25, "kind": "exact", "score": 1.0, "gate": None, "fired": True,
        "verdict": None, "decisions": [],
    }  # fmt: skip
    code, text, _ = run("ask", pack, "What is it?", "--json", "--plain", "--max-new-tokens", 4)
    result = json.loads(text)
    assert result["before"] == result["after"]
    assert result["fired"] == []


def test_ask_shows_both_answers_to_a_person(pack: Path) -> None:
    code, text, _ = run("ask", pack, "Where is the Eiffel Tower?", "--max-new-tokens", 4)
    assert code == 0
    assert "before" in text
    assert "eiffel fired" in text
    _, text, _ = run("ask", pack, "What is it?", "--max-new-tokens", 4)
    assert "no edit fired" in text


def test_the_unedited_model_is_asked_only_where_an_edit_fires(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, generate = [], UneditedModel.generate

    def noted(model: UneditedModel, prompts: list[str], **options: object) -> list[str]:
        asked.append(prompts)
        return generate(model, prompts, **options)

    monkeypatch.setattr(UneditedModel, "generate", noted)
    options = ("--json", "--plain", "--max-new-tokens", 8)
    for prompts, more in (
        (["What is it?"], []),
        (["What is it?", "Where is the Eiffel Tower?"], []),
        (["What is it?"], ["--no-rescan"]),
    ):
        _, text, _ = run("ask", pack, *prompts, *more, *options)
        results = [json.loads(text)] if len(prompts) == 1 else map(json.loads, text.splitlines())
        backbone, _ = load_edited(pack, None, Machine(device="cpu"))
        before = generate(UneditedModel(backbone), prompts, chat=False, max_new_tokens=8)
        assert [result["before"] for result in results] == before
    assert asked == [["Where is the Eiffel Tower?"]]


def test_garbage_is_collected_again_once_all_is_loaded(pack: Path, tmp_path: Path) -> None:
    gc.unfreeze()
    try:
        load_edited(pack, None, Machine(device="cpu"))
        assert gc.isenabled()
        assert gc.get_freeze_count() > 100_000  # modules that are no longer looked through
        with pytest.raises(LKSError):
            load_edited(pack, "no such model", Machine())
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_a_chat_of_two_turns(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Where is the Eiffel Tower?\n\nAre you sure?\n"))
    code, text, _ = run("chat", pack, "--max-new-tokens", 4)
    assert code == 0
    assert len(text.splitlines()) >= 2
    code, _, err = run("chat", pack, "--roles", "user,people")
    assert code == 2
    assert "unknown role 'people'; some of system, user, assistant" in one_line(err)


def test_eval(pack: Path, facts: Path) -> None:
    report = facts.parent / "report.html"
    code, text, _ = run(
        "eval", pack, "--data", facts, "--json", "--max-new-tokens", 4, "--out", report
    )
    result = json.loads(text)
    assert code == 0
    assert result["n"] == 4
    for key in ("teacher_forced", "free_running"):
        assert set(result[key]) == {"reliability", "generality", "locality", "ep"}
    assert {"base", "fluency", "triggered"} <= set(result)
    assert "Mount Fuji" in report.read_text()
    code, text, _ = run("eval", pack, "--data", facts, "--chat", "--limit", 1, "--quiet")
    assert code == 0
    assert "1 edit, chat prompts" in text


def test_rows_that_a_pack_does_not_hold_are_told(pack: Path, facts: Path) -> None:
    other = Edit("other", "Rome", "Rome is in", "Peru", generality=("Where is Rome?",))
    EditSet([*make_edits()[:1], other]).save(facts)
    for command in ("eval", "robustness"):
        code, _, err = run(command, pack, "--data", facts, "--max-new-tokens", 2, "--quiet")
        assert code == 0
        assert "of 2 rows 1 not in the pack, and scored all the same: other" in err
        assert "other than in the pack" not in err


def test_scope_needs_no_model(pack: Path, facts: Path) -> None:
    plain = [facts, "--scope", "entity"]
    for source in ([pack], plain):
        code, text, _ = run("scope", *source, "Mount Fuji?", "--json")
        assert code == 0
        assert json.loads(text)["mentions"][0]["edit_ids"] == ["fuji"]
    (facts.parent / "texts.jsonl").write_text('{"text": "Mount Fuji"}\n{"text": "none"}\n')
    code, text, _ = run("scope", *plain, "--file", facts.parent / "texts.jsonl", "--json")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [len(row["mentions"]) for row in rows] == [1, 0]
    _, text, _ = run("scope", *plain, "Mount Fuji?")
    shown = 'Mount Fuji?\n"Mount Fuji" (0-10) is Mount Fuji (exact): fuji fired\n'
    assert text == shown
    _, text, _ = run("scope", *plain, "Mount Fuji?", "none")
    assert text == f"{shown}\nnone\nno edited entity is named\n", "many look as one does"


def test_pack_info_and_verify(pack: Path) -> None:
    code, text, _ = run("pack", "info", pack, "--json")
    info = json.loads(text)
    assert code == 0
    assert {"schema", "base_model", "layers", "form", "edits", "version", "files"} <= set(info)
    code, text, _ = run("pack", "info", pack)
    assert code == 0 and "longer_name" in text, "the parts of its scope"
    assert run("pack", "verify", pack)[0] == 0


def test_a_pack_that_grows_and_shrinks(pack: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine.pack"
    shutil.copytree(pack, copy)
    more = tmp_path / "more.jsonl"
    EditSet([Edit("wall", "Berlin Wall", "The Berlin Wall stood in", "Lima")]).save(more)
    quick = ["--epochs", "2", "--threads", "1", "--unchecked"]
    code, text, _ = run("add", copy, more, *quick, "--json")
    assert code == 0
    result = json.loads(text)
    assert {key: result[key] for key in ("added", "edits", "version")} == {
        "added": 1, "edits": 5, "version": 2,
    }  # fmt: skip
    assert (result["replaced"], result["not_learnt"]) == ([], [])
    assert run("remove", copy, "wall", "fuji")[:2] == (0, f"{copy}: 3 edits, version 3\n")
    _, text, _ = run("scope", copy, "Mount Fuji and the Eiffel Tower", "--json")
    assert [m["subject"] for m in json.loads(text)["mentions"]] == ["Eiffel Tower"]
    code, _, err = run("remove", copy, "fuji")
    assert code == 2
    assert 'no edit "fuji" in force' in one_line(err)
    assert run("pack", "rollback", copy, "--to", "1")[:2] == (0, f"{copy}: 4 edits, version 4\n")
    code, text, _ = run(
        "add", copy, more, "--no-refine", "--quiet", "--threads", "1", "--unchecked"
    )
    assert code == 0
    assert "1 edit added" in text
    log = json.loads(run("pack", "log", copy, "--json")[1])
    assert [line["edits"] for line in log] == [5, 4, 3, 5, 4]
    assert "remove       wall, fuji" in run("pack", "log", copy)[1]


# --- bad input: one clear line, exit code 2 -----------------------------------------------------


def test_bad_files_of_edits(model_folder: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "p", "--model", model_folder]
    bad = tmp_path / "bad.jsonl"
    for content, says in (
        (None, "no such file"),
        (b"", "no edits in it"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b'{"subject": 1}\nx\n', "bad lines"),
    ):
        if content is not None:
            bad.write_bytes(content)
        code, _, err = run("edit", bad, *out)
        assert code == 2
        assert says in one_line(err)
    assert "line 1:" in err
    assert "line 2:" in err
    assert not (tmp_path / "p").exists()


def test_unknown_model_offers_the_nearest(facts: Path, tmp_path: Path) -> None:
    code, _, err = run("edit", facts, "--model", "smollm-135", "--out", tmp_path / "p")
    assert code == 2
    assert "unknown model 'smollm-135'; did you mean smollm2-135m?" in one_line(err)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--layer", "40"], "layer 40 is out of range: .* has layers 0 to 3"),
        (["--layers-path", "model.blocks"], "no decoder layers at 'model.blocks'"),
        (["--preset", "papers"], "unknown preset 'papers'"),
        (["--form", "other"], "form must be replace or residual"),
        (["--lr", "-1"], "lr must be above 0"),
        (["--seed", "-1"], "seed must be 0 or more"),
        (["--memory", "inf"], "--memory inf: give a number of GB"),
        (["--device", "cuda:9"], "device 'cuda:9' cannot be used here"),
        (["--dtype", "int3"], "unknown dtype 'int3'"),
        (["--resume"], "no checkpoint in"),
    ],
)
def test_bad_settings(
    model_folder: Path, facts: Path, tmp_path: Path, option: list[str], says: str
) -> None:
    import re

    code, _, err = run("edit", facts, "--model", model_folder, "--out", tmp_path / "p", *option)
    assert code == 2
    assert re.search(says, one_line(err))
    assert not (tmp_path / "p").exists()


def test_a_pack_of_another_model(pack: Path, model_folder: Path, tmp_path: Path) -> None:
    from conftest import make_backbone

    other = make_backbone("llama", seed=5, chat=True)
    other.model.save_pretrained(tmp_path)
    other.tokenizer.save_pretrained(tmp_path)
    code, _, err = run("ask", pack, "Where?", "--model", tmp_path)
    assert code == 2
    assert "other weights" in one_line(err)


def test_read_only_and_taken_outputs(
    model_folder: Path, facts: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run("edit", facts, "--model", model_folder, "--out", pack, *QUICK)
    assert code == 2
    assert "there is a pack already" in one_line(err)

    import tempfile

    def refuse(*args: object, **kwargs: object) -> None:  # the tests may run as root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    code, _, err = run("edit", facts, "--model", model_folder, "--out", tmp_path / "p")
    assert code == 2
    assert "cannot be written (Permission denied)" in one_line(err)


def test_a_full_disk_keeps_the_checkpoint(
    model_folder: Path, facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lks.packs import pack as packs

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packs, "save_file", full)
    args = ["edit", facts, "--model", model_folder, "--out", tmp_path / "p", *QUICK]
    code, _, err = run(*args)
    assert code == 2
    assert "No space left on device" in one_line(err)
    monkeypatch.undo()
    state = (tmp_path / "p.checkpoint" / "checkpoint.safetensors").read_bytes()
    code, _, err = run(*args)
    assert code == 2
    assert one_line(err).endswith("go on with --resume, or start afresh with --no-resume")
    assert (tmp_path / "p.checkpoint" / "checkpoint.safetensors").read_bytes() == state
    assert run(*args, "--resume")[0] == 0
    (tmp_path / "p.checkpoint").mkdir()
    (tmp_path / "p.checkpoint" / "checkpoint.safetensors").write_bytes(b"of another run")
    assert run(*args, "--overwrite", "--no-resume")[0] == 0
    assert not (tmp_path / "p.checkpoint").exists()


def test_bad_reports_and_texts(pack: Path, facts: Path, tmp_path: Path) -> None:
    code, _, err = run("eval", pack, "--data", facts, "--out", "report.pdf")
    assert code == 2
    assert ".html or .json" in one_line(err)
    for command in ("eval", "robustness"):
        code, _, err = run(command, pack, "--data", facts, "--out", tmp_path / "no" / "x.json")
        assert code == 2
        assert "there is no folder" in one_line(err)
    for texts in (["a", "--file", facts], ["a", "--report"]):
        code, _, err = run("scope", facts, *texts)
        assert code == 2
        assert "--file" in one_line(err)
    lines = '\ufeff{"text": "a"}\n\n{"no": 1}\n3\n{"text": null}\n{"text": "\\ud83d"}\n'
    (tmp_path / "t.JSONL").write_text(lines)
    code, _, err = run("scope", facts, "--scope", "entity", "--file", tmp_path / "t.JSONL")
    assert code == 2
    assert [n for n in range(1, 7) if f"line {n}:" in err] == [3, 4, 5, 6]


# --- processes ----------------------------------------------------------------------------------


def test_an_interrupt_leaves_a_checkpoint_that_resumes(
    model_folder: Path, facts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    command = [
        sys.executable, "-m", "lks", "edit", str(facts), "--model", str(model_folder), "--out",
        str(out), "--layer", "1", "--epochs", "100000", "--quiet", "--threads", "1",
        "--scope", "entity",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True,
        # where tests run in the background, interrupts may be ignored from birth
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    checkpoint = tmp_path / "p.checkpoint" / "checkpoint.safetensors"
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "go on with --resume" in one_line(err)
    assert checkpoint.exists()
    assert not out.exists()


def test_help_and_import_load_no_torch() -> None:
    probe = (
        "import sys, lks; from lks.cli import app; sys.argv = ['lks', '--help']\n"
        "try: app.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules), 'heavy imports'"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "edit", "ask", "chat", "scope", "eval", "pack"):
        assert command in done.stdout


def test_usage_errors_have_exit_code_2() -> None:
    env = {**os.environ, "TERM": "dumb"}
    done = subprocess.run([sys.executable, "-m", "lks", "edit"], capture_output=True, env=env)
    assert done.returncode == 2
