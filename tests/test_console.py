"""Progress as it is printed where no terminal is."""

from __future__ import annotations

import pytest

from lks.cli import console
from lks.edits.text import counted
from lks.evaluation.results import FactTest, FailedAsk, SelfTest
from lks.model.engine.protocol import Generation
from lks.training.progress import Epoch


def test_long_readings_and_epochs_are_lines(capsys: pytest.CaptureFixture) -> None:
    told = console.TrainingProgress(quiet=False)
    with told.shown():
        for done in range(0, console.LONG, 100):
            told.stage("reading", done + 100, console.LONG)
        told.stage("reading chats", 5, 10)
        told.stage("training", 1, 2)
        told.epoch(Epoch(1, 2, 0.5, 0.25, 0.0))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0] == f"reading: {console.LONG // 10} of {console.LONG} texts"
    assert lines[-1] == "epoch 1 of 2: reliability 0.500  generality 0.250"
    with (told := console.TrainingProgress(quiet=False)).shown():
        told.epoch(Epoch(1, 2, 0.5, 0.25, 0.125))
    assert capsys.readouterr().err.endswith("generality 0.250  locality 0.125\n")
    with (told := console.TrainingProgress(quiet=True)).shown():
        told.stage("reading", console.LONG, console.LONG)
        told.epoch(Epoch(1, 2, 0.5, 0.25, 0.0))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", ["40", "80"])
def test_answers_are_shown_whole(
    width: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    before = (
        "See https://example.org/" + "0123456789" * 20 + ", and " + "more " * 80 + "日本語" * 30
    )
    console.print_answer("Where?", before, Generation("9876543210" * 12))
    shown = capsys.readouterr().out
    rows = [line.split("│") for line in shown.splitlines() if line.startswith("│")]
    old, new = ("".join("".join(row[side].split()) for row in rows) for side in (1, 2))
    assert old == "".join(before.split())
    assert new == "9876543210" * 12


def test_one_is_no_plural(capsys: pytest.CaptureFixture) -> None:
    assert [counted(n, "edit") for n in (0, 1, 2)] == ["0 edits", "1 edit", "2 edits"]
    assert counted(1, "entity", "entities") == "1 entity"
    assert counted(3, "entity", "entities") == "3 entities"
    failed = FailedAsk("prompt", "Where?", False, "did not fire", "")
    console.print_self_test(SelfTest(1, (FactTest("a", "A", 1, (failed,)),), {}, (), 0.5), 1.0)
    assert capsys.readouterr().out.startswith("self-test: 1 fact asked in 1 way, 0.5 s")
