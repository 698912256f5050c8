"""General abilities, on files and models of the tests' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_edits
from test_cli import one_line, run

from lks.errors import EditFileError, InputError
from lks.evaluation import ability
from lks.evaluation.ability import Item, Task
from lks.model.engine.protocol import Score

SENTENCES = [{"sentence": f"film number {i}", "label": i % 2} for i in range(12)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Knows:
    """Prefers one answer, whatever is asked; fires on texts that contain `fires`."""

    def __init__(self, liked: str, fires: str = "never") -> None:
        self.liked, self.fires = liked, fires

    def score(self, pairs: list[tuple[str, str]]) -> list[Score]:
        return [Score((1,), (0.0 if target == self.liked else -1.0,), (1,)) for _, target in pairs]

    def generate(self, prompts: list[str], **options: Any) -> list[str]:
        return [self.liked for _ in prompts]

    def triggered(self, prompts: list[str]) -> list[bool]:
        return [self.fires in prompt for prompt in prompts]


def test_the_first_rows_are_shown_and_the_others_scored(tmp_path: Path) -> None:
    task = ability.load(write(tmp_path / "sst2.jsonl", SENTENCES), limit=3)
    assert [len(task.shots), len(task.items)] == [8, 3]
    prompt = task.prompt(task.items[0])
    assert prompt.startswith("Review: film number 0\nSentiment: negative\n\n")
    assert prompt.endswith("Review: film number 8\nSentiment:")


@pytest.mark.parametrize(
    ("name", "row", "answer"),
    [
        ("cola", {"sentence": "It is.", "label": 1}, "yes"),
        ("rte", {"sentence1": "a", "sentence2": "b", "label": 0}, "True"),
        ("mrpc", {"sentence1": "a", "sentence2": "b", "label": 0}, "no"),
        ("mmlu", {"question": "2?", "choices": ["1", "2", "3", "4"], "answer": 1}, "B"),
    ],
)
def test_tasks_with_choices(tmp_path: Path, name: str, row: dict, answer: str) -> None:
    task = ability.load(write(tmp_path / f"{name}.jsonl", [row] * 9))
    assert task.items[0].answer == answer
    assert answer in task.items[0].choices


def test_written_answers_count_by_their_last_number(tmp_path: Path) -> None:
    row = {"question": "How many?", "answer": "One and <<1+1=2>>two.\n#### 1,200"}
    write(tmp_path / ability.GSM8K_SHOTS, [row] * 6)
    task = ability.load(write(tmp_path / "gsm8k_test.jsonl", [row]))
    assert [len(task.shots), len(task.items)] == [4, 1]
    item = task.items[0]
    assert "<<" not in item.answer
    good = ["1200", "so it is 7.\n#### 1200\nQuestion: 5?", "3 and then $1,200.\n\nQuestion: 4"]
    assert [ability.right(item, text) for text in (*good, "1,201", "none")] == [True] * 3 + [
        False
    ] * 2


def test_before_and_after_with_what_fired() -> None:
    items = tuple(Item(f"{i}?", "yes" if i else "no", ("no", "yes")) for i in range(4))
    task = Task("x", items[:1], items)
    result = ability.compare(Knows("no"), Knows("yes", fires="2?"), task)
    assert result.to_json() == {
        "task": "x", "n": 4, "shots": 1, "before": 0.25, "after": 0.75, "fired": 0.25,
        "changed_unfired": 3,
    }  # fmt: skip
    same = ability.compare(Knows("no"), Knows("no", fires="2?"), task)
    assert (same.changed_unfired, same.before) == (0, same.after)
    written = Task("x", (), (Item("How many?", "4"),))
    assert ability.compare(Knows("5"), Knows("it is 4"), written).after == 1


def test_bad_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name the file sst2\.jsonl"):
        ability.load(tmp_path / "sst3.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        ability.load(tmp_path / "sst2.jsonl")
    bad = write(tmp_path / "rte.jsonl", [{"sentence1": "a"}, [], {"label": 7}])
    with pytest.raises(EditFileError) as told:
        ability.load(bad)
    assert [problem.split(":")[0] for problem in told.value.problems] == [
        "line 1",
        "line 2",
        "line 3",
    ]
    three = {"question": "2?", "choices": ["1", "2", "3"], "answer": 1}
    fifth = {"question": "2?", "choices": ["1", "2", "3", "4"], "answer": 4}
    with pytest.raises(EditFileError) as told:
        ability.load(write(tmp_path / "mmlu.jsonl", [three, fifth, {"question": "2?"}]))
    assert told.value.problems == [
        "line 1: not a row of this task (3 choices, not 4)",
        'line 2: not a row of this task ("answer" is 4, not one of 0 to 3)',
        "line 3: 'choices' is missing",
    ]
    with pytest.raises(EditFileError, match="1 bad line;"):  # GLUE's own test files have no labels
        ability.load(write(tmp_path / "cola.jsonl", [{"sentence": "It is.", "label": -1}]))
    with pytest.raises(InputError, match="nothing to score"):
        ability.load(write(tmp_path / "sst2.jsonl", SENTENCES[:8]))


def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    make_edits().save(tmp_path / "facts.jsonl")
    rows = [{"sentence": f"Ada Lovelace was born in {i}", "label": i % 2} for i in range(10)]
    file, pack = write(tmp_path / "cola.jsonl", rows), tmp_path / "p"
    quick = ["--epochs", 1, "--layer", 1, "--scope", "entity", "--quiet", "--no-chat"]
    run("edit", tmp_path / "facts.jsonl", "--model", model_folder, "--out", pack, *quick)
    code, out, err = run("ability", pack, file, "--limit", 2, "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["task"], row["n"], row["fired"], row["changed_unfired"]) == ("cola", 2, 1.0, 0)
    assert "cola" in run("ability", pack, file, "--quiet")[1]
    assert "no task of this name" in one_line(run("ability", pack, tmp_path / "x.jsonl")[2])
