"""`lks layers` on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import make_edits
from test_cli import one_line, run

from lks.evaluation.layer_search import best, spread
from lks.evaluation.results import LayerScores
from lks.training import train_pack as train_pack_module


def test_layers_are_compared_and_a_stopped_run_goes_on(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "facts.jsonl"
    make_edits().save(facts)
    out = tmp_path / "layers"
    words = ["layers", facts, "--model", model_folder, "--out", out, "--sample", 2, "--epochs", 2]
    words += ["--scope", "entity"]
    words += ["--threads", 1, "--json"]
    code, _, err = run(*words, "--at", "0,x")
    assert (code, "6,12,18" in one_line(err)) == (2, True)
    code, _, err = run(*words, "--at", "0,9")
    assert (code, "layer 9" in one_line(err)) == (2, True)

    train = train_pack_module.train_pack

    def stop_at_2(backbone: object, edits: object, config: object, **options: object) -> object:
        if config.layer == 2:
            raise KeyboardInterrupt
        return train(backbone, edits, config, **options)

    monkeypatch.setattr(train_pack_module, "train_pack", stop_at_2)
    assert run(*words)[0] == 130
    first = (out / "layers.jsonl").read_text().splitlines()
    assert [json.loads(line)["layer"] for line in first[1:]] == [0, 1]
    (out / "layers.jsonl").write_text("\n".join(first) + '\n{"layer": 2, "e')
    monkeypatch.setattr(train_pack_module, "train_pack", train)

    code, text, _ = run(*words)
    result = json.loads(text)
    assert code == 0
    assert [row["layer"] for row in result["layers"]] == [0, 1, 2]
    assert (out / "layers.jsonl").read_text().splitlines()[:3] == first
    assert (
        result["best"] == max(result["layers"], key=lambda row: (row["ep"], row["layer"]))["layer"]
    )
    assert (out / "layers.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = run(*words, "--seed", 1)
    assert (code, "other edits or settings" in one_line(err)) == (2, True)


def test_a_layer_that_cannot_be_edited_is_left_out_and_told(
    model_folder: Path, tmp_path: Path
) -> None:
    make_edits().save(tmp_path / "facts.jsonl")
    words = ["layers", tmp_path / "facts.jsonl", "--model", model_folder, "--threads", 1, "--json"]
    words += ["--sample", 2, "--epochs", 1, "--scope", "entity", "--out", tmp_path / "layers"]
    code, text, err = run(*words, "--at", "3,1")  # nothing follows the last layer, 3
    assert code == 0
    assert [row["layer"] for row in json.loads(text)["layers"]] == [1]
    code, _, err = run(*words, "--at", "3", "--seed", 1, "--out", tmp_path / "other")
    assert (code, "layer 3 cannot reach later tokens" in one_line(err)) == (2, True)


def test_the_best_layer_goes_by_the_scores_that_there_are() -> None:
    rows = [
        LayerScores(layer, score, None, None, None, seconds=1.0, epochs=1)
        for layer, score in ((0, 0.5), (4, 0.75), (8, 0.75), (12, 0.25))
    ]
    assert best(rows) == 8
    assert spread(30, 4) == [0, 9, 19, 28]
    assert spread(5, 10) == [0, 1, 2, 3]
