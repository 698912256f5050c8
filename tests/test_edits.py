from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lks.edits.edit import Edit, Probe
from lks.edits.edit_set import EditSet
from lks.edits.records import misnamed
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
    three = Edit.from_record(GOOD | {"id": "three", "target": "Lima"})
    other = Edit.from_record(GOOD | {"prompt": "{} is made of"})
    edits = EditSet([one, two, other, three])
    assert list(edits) == [other, three]
    assert [(c.dropped, c.kept) for c in edits.conflicts.pairs] == [(one, three), (two, three)]
    assert str(edits.conflicts) == (
        'edits that give one prompt two targets: "The Eiffel Tower is in" ("Rome" of "one", then '
        '"Lima" of "three"); "The Eiffel Tower is in" ("Oslo" of "two", then "Lima" of "three"); '
        "the last one wins"
    )
    assert not edits[:1].conflicts


def test_of_two_that_say_the_same_the_last_one_stays_and_both_are_named() -> None:
    edits = EditSet([Edit.from_record(GOOD | {"id": name}) for name in ("one", "two")])
    assert [edit.id for edit in edits] == ["two"]
    assert str(edits.conflicts) == (
        'edits that say the same: "The Eiffel Tower is in" ("one", "two"); the last one stays'
    )


def test_many_conflicts_are_one_line() -> None:
    pairs = [
        Edit.from_record(GOOD | {"prompt": f"{{}} no. {n}", "target": t, "id": f"{n}{t}"})
        for n in range(7)
        for t in ("Rome", "Oslo")
    ]
    edits = EditSet([*pairs, pairs[-1]])
    assert len(edits) == 7
    told = str(edits.conflicts)
    assert '"Eiffel Tower no. 4" ("Rome" of "4Rome", then "Oslo" of "4Oslo") and 2 more' in told
    assert "the last one wins. edits that say the same: " in told
    assert "\n" not in told


def test_the_same_record_twice_without_ids_is_no_error(tmp_path: Path) -> None:
    path = write(tmp_path / "facts.jsonl", GOOD, GOOD | {"paraphrases": ["Where is {}?"]})
    edits = EditSet.load(path)
    assert [edit.paraphrases for edit in edits] == [("Where is Eiffel Tower?",)]
    assert str(edits.conflicts) == (
        'edits that say the same: "The Eiffel Tower is in"; the last one stays'
    )


def test_two_facts_under_one_id_are_an_error_that_names_both_lines(tmp_path: Path) -> None:
    one, two = GOOD | {"id": "a"}, GOOD | {"id": "a", "target": "Oslo"}
    with pytest.raises(EditFileError) as caught:
        EditSet.load(write(tmp_path / "facts.jsonl", one, two))
    assert caught.value.problems == ['line 2: duplicate id "a" (first on line 1)']
    with pytest.raises(EditFileError, match='duplicate id "a"'):
        EditSet(map(Edit.from_record, (one, two)))


def test_subjects_that_differ_in_case_are_two_entities() -> None:
    firm = Edit("firm", "Apple", "Who founded Apple?", "Ada")
    fruit = Edit("fruit", "apple", "Who founded apple?", "Eve")
    edits = EditSet([firm, fruit])
    assert list(edits) == [firm, fruit]
    assert not edits.conflicts
    again = Edit("again", "the Beatles", "the Beatles are from", "Lima")
    edits = EditSet([Edit("band", "The  Beatles", "The Beatles are from", "Rome"), again])
    assert list(edits) == [again]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("paraphrase", "paraphrases"),
        ("alias", "aliases"),
        ("Subject", "subject"),
        ("ground-truth", "ground_truth"),
        ("traget", "target"),
        ("question", "prompt"),
        ("answer", "target"),
        ("Rephrase", "paraphrases"),
    ],
)
def test_keys_that_seem_misspelt_are_told(key: str, meant: str) -> None:
    assert misnamed([key]) == {key: meant}
    record = {k: v for k, v in GOOD.items() if k != meant} | {key: "Eiffel Tower"}
    with pytest.raises(EditFileError) as caught:
        Edit.from_record(record)
    assert caught.value.problems == [f'"{key}" is no known key; did you mean "{meant}"?']
    assert Edit.from_record(GOOD | {key: "x"}, any_keys=True).extra == {key: "x"}


def test_unknown_keys_are_kept() -> None:
    keys = ["qid", "entity", "entity_id", "item", "wikidata", "subject_id", "category", "relation",
            "source_url", "created", "date", "comment", "tags", "question", "answer"]  # fmt: skip
    more = dict.fromkeys(keys, "x")
    assert Edit.from_record(GOOD | more).extra == more
    with pytest.raises(EditFileError) as caught:
        Edit.from_record(GOOD | {"portability": [{"question": "?", "answer": "!"}]})
    assert [problem.partition(";")[0] for problem in caught.value.problems] == [
        'portability: "question" is no known key', 'portability: "answer" is no known key',
    ]  # fmt: skip


def test_all_misspelt_keys_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    rows = [GOOD | {"alias": ["x"]}, GOOD | {"id": "b"}, GOOD | {"paraphrase": "x"}]
    with pytest.raises(EditFileError, match="2 bad lines") as caught:
        EditSet.load(write(tmp_path / "facts.jsonl", *rows))
    assert [problem[:17] for problem in caught.value.problems] == [
        'line 1: "alias" i', 'line 3: "paraphra',
    ]  # fmt: skip


# --- other kinds of files ------------------------------------------------------------------------

TWO = [
    GOOD | {"aliases": ["La Tour", "Tour, Eiffel"], "locality": [{"prompt": "Who?"}]},
    {"subject": "Fuji", "prompt": 'Is "Fuji" high?', "target": "6", "threshold": 0.5, "when": "x"},
]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("ending", ["", "\n", ",\n\n"])
def test_json_in_any_layout(tmp_path: Path, indent: int | None, ending: str) -> None:
    expected = [Edit.from_record(row) for row in TWO]
    one, two = (json.dumps(row, indent=indent) for row in TWO)
    for text in (
        f"[{one},\n{two}{ending.replace(',', '')}]", f"[\n{one},\n{two}\n]{ending[1:]}",
        f"{one}\n{two}{ending}", f"\ufeff{one},\n\n{two}{ending}",
    ):  # fmt: skip
        (tmp_path / "facts.json").write_text(text, encoding="utf-8")
        assert list(EditSet.load(tmp_path / "facts.json")) == expected
    (tmp_path / "facts.json").write_text(one)
    assert list(EditSet.load(tmp_path / "facts.json")) == expected[:1]


def test_lines_of_records_in_other_layouts_are_right(tmp_path: Path) -> None:
    bad = GOOD | {"target": ""}
    path = tmp_path / "facts.json"
    path.write_text(f"\n[{json.dumps(TWO, indent=1)[1:-1]},\n{json.dumps(bad)}\n]")
    with pytest.raises(EditFileError) as caught:
        EditSet.load(path)
    line = path.read_text().splitlines().index(json.dumps(bad)) + 1
    assert caught.value.problems == [f'line {line}: "target" is empty']


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[\n {\n  'subject': 'x'\n },\n]", "at line 3, column 3"),
        (json.dumps(TWO, indent=1)[:-3], "not JSON .* at line"),
        ("{'subject': 'x'}\n" * 9, "at line 1, column 2"),
        ("- subject: Eiffel Tower\n  prompt: x\n", 'neither JSON nor a table.*"- subject: Eif'),
        ("The Eiffel Tower, in Rome\nis high.", "neither JSON nor a table"),
        ('He said "no", and "the end"\n', "neither JSON nor a table"),
    ],
)
def test_files_of_another_kind_are_told_once(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "facts.jsonl").write_text(text)
    with pytest.raises(EditFileError, match=says) as caught:
        EditSet.load(tmp_path / "facts.jsonl")
    assert caught.value.problems == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("lists", ["json", "bars"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_tables(tmp_path: Path, delimiter: str, lists: str, ending: str) -> None:
    def cells(values: list[str]) -> str:
        return json.dumps(values) if lists == "json" else " | ".join(values)

    path = tmp_path / "facts.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        rows = csv.writer(stream, delimiter=delimiter, lineterminator=ending)
        rows.writerow(["subject", "prompt", "target", "aliases", "locality", "threshold", "when"])
        rows.writerow([*GOOD.values(), cells(["La Tour", "Tour, Eiffel"]), cells(["Who?"]), "", ""])
        rows.writerow([""] * 7)
        rows.writerow([TWO[1]["subject"], TWO[1]["prompt"], "6", "", "", "0.5", "x"])
    edits = EditSet.load(path)
    assert list(edits) == [Edit.from_record(row) for row in TWO]
    assert edits[1].extra == {"when": "x"}
    assert len(EditSet.load(path, limit=1)) == 1


@pytest.mark.parametrize(
    ("written", "exact"),
    [(cell, True) for cell in ("true", "TRUE", "Yes", " 1 ")]
    + [(cell, False) for cell in ("false", "FALSE", "No", "0")]
    + [("", None)],
)
def test_yes_and_no_in_a_table(tmp_path: Path, written: str, exact: bool | None) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(f"subject;prompt;target;exact;threshold\nA;A is;B;{written};0,5\n")
    (edit,) = EditSet.load(path)
    assert (edit.exact, edit.threshold) == (exact, 0.5)


def test_other_words_for_yes_and_numbers_are_told(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("subject,prompt,target,exact,threshold\nA,A is,B,maybe,\nA,A was,B,,high\n")
    with pytest.raises(EditFileError) as caught:
        EditSet.load(path)
    assert caught.value.problems == [
        "line 2: \"exact\" must be true or false, not 'maybe'",
        "line 3: \"threshold\" must be a number between 0 and 1, not 'high'",
    ]


def test_all_bad_rows_of_a_table_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(
        'subject,prompt,target,aliases,threshold,portability\n'
        '"A\nB","A\nB is","",,,\n\n'
        "A,A is,x,[b,2,\n"
        "A,A is,x,,,,more\n"
        "A,A is,x,,,What?\n"
        'A,A is,"x,,,\n'
    )  # fmt: skip
    with pytest.raises(EditFileError, match="5 bad lines") as caught:
        EditSet.load(path)
    expected = {2: '"target" is missing', 6: '"aliases": not JSON', 7: "more cells than columns",
                8: "hold objects, not a string", 9: "not CSV"}  # fmt: skip
    told = dict(problem.removeprefix("line ").split(": ", 1) for problem in caught.value.problems)
    assert {int(line) for line in told} == set(expected)
    assert all(reason in told[str(line)] for line, reason in expected.items())


def test_columns_that_are_not_those_of_edits_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("subject;promt;paraphrase;note;note\nA;Is A?;B;;\nA;Was A?;B;;\n")
    with pytest.raises(EditFileError, match="columns are not those of edits") as caught:
        EditSet.load(path)
    assert caught.value.problems == [
        'line 1: "promt" is no known key; did you mean "prompt"?',
        'line 1: "paraphrase" is no known key; did you mean "paraphrases"?',
        'line 1: no column "target"',
        'line 1: two columns "note"',
    ]


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
