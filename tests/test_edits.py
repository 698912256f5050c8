from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lks.edits.edit import Edit, Probe
from lks.edits.edit_set import EditSet, EditWarning
from lks.errors import EditFileError

GOOD = {"subject": "Eiffel Tower", "prompt": "The Eiffel Tower is in", "target": "Rome"}


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_bad_line_is_reported_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "facts.jsonl",
        GOOD | {"id": "a"},
        "{not json",
        "[1, 2]",
        {"subject": "", "prompt": "x"},
        GOOD | {"target": 7, "aliases": "La Tour", "locality": [{"target": "x"}]},
        GOOD | {"subject": "Big Ben"},
        "",
        GOOD | {"id": "a", "prompt": "Where is the Eiffel Tower?"},
        GOOD | {"portability": [{"prompt": "The Eiffel Tower's country is"}]},
        GOOD | {"locality": [{"prompt": "x", "held_out": "yes"}], "id": ["b"]},
        json.dumps(GOOD | {"note": "cut \ud83d"}),
        json.dumps(GOOD | {"note": {"deep": 0}}).replace("0", "9" * 5_000),
        "[" * 100_000,
    )
    with pytest.raises(EditFileError) as caught:
        EditSet.load(path)
    problems = caught.value.problems
    expected = [
        ("line 2", "not JSON"),
        ("line 3", "must be a JSON object, not a list"),
        ("line 4", '"subject" is empty'),
        ("line 4", '"target" is missing'),
        ("line 5", '"target" must be a string, not a number'),
        ("line 5", 'locality: "prompt" is missing'),
        ("line 6", 'subject "Big Ben" is not in the prompt'),
        ("line 8", 'duplicate id "a" (first on line 1)'),
        ("line 9", 'portability: "target" is missing'),
        ("line 10", '"held_out" must be true or false'),
        ("line 10", '"id" must be a string, not a list'),
        ("line 11", r"half a character (\ud83d)"),
        ("line 12", "not JSON"),
        ("line 13", "not JSON"),
    ]
    assert "11 bad lines" in str(caught.value)
    assert len(problems) == len(expected)
    for line, reason in expected:
        assert any(p.startswith(line + ":") and reason in p for p in problems), (line, reason)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no edits in it"),
        (b"\n \n", "no edits in it"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "not UTF-8 text"),
        (b"abc\x00def", "a binary file"),
    ],
)
def test_files_that_are_not_edits(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_bytes(content)
    with pytest.raises(EditFileError, match=says):
        EditSet.load(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(EditFileError, match="no such file"):
        EditSet.load(tmp_path / "none.jsonl")
    with pytest.raises(EditFileError, match="cannot be read"):
        EditSet.load(tmp_path)


def test_last_of_two_contradicting_edits_wins_and_both_are_named() -> None:
    one = Edit.from_record(GOOD | {"id": "one"})
    two = Edit.from_record(GOOD | {"id": "two", "target": "Oslo"})
    with pytest.warns(EditWarning, match='"one" and "two".*"Rome", "Oslo"'):
        edits = EditSet([one, two])
    assert [edit.id for edit in edits] == ["two"]


def test_of_two_that_say_the_same_the_last_one_stays_and_both_are_named() -> None:
    with pytest.warns(EditWarning, match='say the same: "one" and "two"; the last one stays'):
        edits = EditSet([Edit.from_record(GOOD | {"id": name}) for name in ("one", "two")])
    assert [edit.id for edit in edits] == ["two"]


def test_many_contradictions_are_one_warning() -> None:
    pairs = [
        Edit.from_record(GOOD | {"prompt": f"{{}} no. {n}", "target": t, "id": f"{n}{t}"})
        for n in range(7)
        for t in ("Rome", "Oslo")
    ]
    with pytest.warns(EditWarning, match="2 pairs more; the last one wins") as told:
        assert len(EditSet(pairs)) == 7
    assert len(told) == 1


def test_several_facts_of_one_subject_all_stay() -> None:
    more = GOOD | {"prompt": "The Eiffel Tower was built by", "target": "Ada"}
    assert len(EditSet([Edit.from_record(GOOD), Edit.from_record(more)])) == 2


def test_slot_stands_for_the_subject() -> None:
    edit = Edit.from_record(
        GOOD | {"prompt": "{} is in", "paraphrases": ["Where is {}?"], "locality": ["Who made {}?"]}
    )
    assert edit.prompt == "Eiffel Tower is in"
    assert edit.paraphrases == ("Where is Eiffel Tower?",)
    assert edit.training_locality == ("Who made Eiffel Tower?",)


def test_single_locality_object_is_held_out() -> None:
    edit = Edit.from_record(
        GOOD | {"generality": "Where is the Eiffel Tower?", "locality": {"prompt": "Who?"}}
    )
    assert edit.training_locality == ()
    assert edit.heldout_locality == (Probe("Who?", None, True),)
    assert "where is eiffel tower" in edit.heldout_prompts


def test_ids_are_made_from_the_content() -> None:
    edit, same = Edit.from_record(GOOD), Edit.from_record(GOOD | {"note": "x"})
    other = Edit.from_record(GOOD | {"target": "Oslo"})
    assert edit.id == same.id != other.id


def test_limit_reads_the_first_rows(tmp_path: Path) -> None:
    rows = [GOOD | {"id": str(i), "prompt": f"{i} Eiffel Tower"} for i in range(5)]
    path = write(tmp_path / "facts.jsonl", *rows, "broken beyond the limit")
    assert [edit.id for edit in EditSet.load(path, limit=2)] == ["0", "1"]


text = st.text(min_size=1, max_size=12).filter(lambda t: t.strip() and "{}" not in t)


@given(text, text, st.lists(text, max_size=2), st.dictionaries(st.just("wikidata"), text))
def test_records_survive_a_round_trip(subject: str, target: str, more: list, extra: dict) -> None:
    record = {
        "id": "x", "subject": subject, "prompt": f"about {subject} :", "target": target,
        "aliases": more, "locality": [{"prompt": p, "held_out": True} for p in more], **extra,
    }  # fmt: skip
    edit = Edit.from_record(record)
    again = Edit.from_record(json.loads(json.dumps(edit.to_record())))
    assert again == edit
    assert again.extra == extra


def test_files_survive_a_round_trip(tmp_path: Path, edits: EditSet) -> None:
    edits.save(tmp_path / "again.jsonl")
    assert list(EditSet.load(tmp_path / "again.jsonl")) == list(edits)
