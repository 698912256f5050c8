"""Facts as files: the key `tests`, tables with other column names, export and diff."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_backbone, make_edits
from hypothesis import given
from hypothesis import strategies as st
from test_cli import one_line, run

from lks.edits.diff import diff
from lks.edits.edit import AnswerTest, Edit, Probe
from lks.edits.edit_set import EditSet
from lks.edits.export import to_csv, to_jsonl, to_markdown
from lks.edits.records import records
from lks.errors import EditFileError, InputError
from lks.packs import manifest as manifest_module
from lks.packs.pack import Pack
from lks.packs.sources import edits_of
from lks.packs.training_summary import TrainingSummary

GOOD = {"subject": "Eiffel Tower", "prompt": "{} is in", "target": "Rome"}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack of two versions: of four facts, and without one of them."""
    edits, base = make_edits(), make_backbone("llama").fingerprint
    path = tmp_path / "facts.pack"
    blocks, hypernetwork = torch.zeros(len(edits), 1, 8), {"weight": torch.zeros(1)}
    Pack(
        edits, blocks, hypernetwork, base, (1,), "residual", "linear", (1.0,), TrainingSummary()
    ).save(path)
    manifest_module.remove(path, ["fuji"])
    return path


def loaded(path: Path, text: str) -> EditSet:
    path.write_bytes(text.encode())
    return EditSet.load(path)


# --- the key `tests` ------------------------------------------------------------------------------


def test_tests_of_a_record() -> None:
    tests = [
        {"prompt": "Which city has {}?", "must_contain": "Rome"},
        {"prompt": "{}?", "must_contain": ["Rome", "{}"], "must_not_contain": ["Paris"]},
    ]
    edit = Edit.from_record(GOOD | {"tests": tests})
    assert edit.tests == (
        AnswerTest("Which city has Eiffel Tower?", ("Rome",)),
        AnswerTest("Eiffel Tower?", ("Rome", "Eiffel Tower"), ("Paris",)),
    )
    assert Edit.from_record(json.loads(json.dumps(edit.to_record()))) == edit
    assert Edit.from_record(GOOD | {"tests": tests[0]}).tests == edit.tests[:1]
    assert "which city has eiffel tower" in edit.heldout_prompts  # training never sees it


def test_all_that_is_wrong_with_tests_is_told_with_the_other_bad_lines(tmp_path: Path) -> None:
    bad = [
        [{"prompt": "?"}],
        [{"must_contain": "x"}, "Where is it?"],
        [{"prompt": "?", "must_contains": "x"}],
        [{"prompt": "?", "must_contain": ["x", "y"], "must_not_contain": "y"}],
        [{"prompt": "?", "must_contain": [1]}],
        [{"prompt": "?", "must_contain": "x", "answer": "y"}],
        "Where?",
    ]
    rows = [json.dumps(GOOD | {"prompt": f"{{}} {n}", "tests": own}) for n, own in enumerate(bad)]
    with pytest.raises(EditFileError) as caught:
        loaded(tmp_path / "facts.jsonl", "\n".join([*rows, json.dumps({**GOOD, "target": ""})]))
    assert caught.value.problems == [
        'line 1: tests: needs "must_contain" or "must_not_contain"',
        'line 2: tests: "prompt" is missing',
        'line 2: "tests" must hold objects, not a string',
        'line 3: tests: "must_contains" is no known key; did you mean "must_contain"?',
        'line 4: tests: "y" must be contained, and must not be; no answer can do both',
        'line 5: tests: "must_contain" must be a list of non-empty strings',
        'line 6: tests: has "answer"; its keys are prompt, must_contain, must_not_contain',
        'line 7: "tests" must be a list of objects, not a string',
        'line 8: "target" is empty',
    ]
    with pytest.raises(EditFileError, match='"test" is no known key; did you mean "tests"'):
        Edit.from_record(GOOD | {"test": []})


# --- tables ---------------------------------------------------------------------------------------


def test_columns_may_have_their_usual_other_names(tmp_path: Path) -> None:
    text = (
        "ID;Entity;Question;New answer;Other wordings;Also known as;Other questions;Kind;Tests\n"
        "a;Rome;Where is Rome?;Peru;Rome is in | Which country has Rome?;Roma;How old is Rome?;x;"
        '"[{""prompt"": ""Rome?"", ""must_contain"": ""Peru""}]"\n'
    )
    (edit,) = loaded(tmp_path / "facts.csv", text)
    assert edit == Edit(
        "a", "Rome", "Where is Rome?", "Peru",
        aliases=("Roma",), paraphrases=("Rome is in", "Which country has Rome?"),
        locality=(Probe("How old is Rome?"),), tests=(AnswerTest("Rome?", ("Peru",)),),
    )  # fmt: skip
    assert edit.extra == {"Kind": "x"}


def test_another_name_beside_the_key_itself_is_a_key_of_ones_own(tmp_path: Path) -> None:
    text = "Subject,prompt,target,entity,question\nRome,Rome is in,Peru,Q220,x\n"
    (edit,) = loaded(tmp_path / "facts.csv", text)
    assert (edit.subject, edit.extra) == ("Rome", {"entity": "Q220", "question": "x"})


def test_two_columns_for_one_key_are_told(tmp_path: Path) -> None:
    with pytest.raises(EditFileError) as caught:
        loaded(tmp_path / "facts.csv", "subject,question,query,answer\nRome,a,b,c\n")
    assert caught.value.problems == [
        'line 1: two columns "prompt", "question" is one too, "query" is one too'
    ]


# --- export ---------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
text = st.one_of(text, st.sampled_from([" a", "a|b", "[x", "{x", '"', "a,b;c\td", "\r", "x\r\ny"]))
text = text.filter(lambda t: t.strip() and "{}" not in t)
texts = st.lists(text, max_size=3).map(tuple)
probes = st.lists(st.builds(Probe, text, st.none() | text, st.booleans()), max_size=2).map(tuple)
targeted = st.lists(st.builds(Probe, text, text, st.booleans()), max_size=2).map(tuple)
tests = st.lists(st.builds(AnswerTest, text, texts.filter(bool)), max_size=2).map(tuple)


@st.composite
def some_edits(draw: st.DrawFn) -> list[Edit]:
    """Edits with any texts, lists and probes."""
    made = []
    for number in range(draw(st.integers(1, 3))):
        subject = draw(text)
        made.append(
            Edit(
                f"id{number}", subject, f"{number}: {subject}?", draw(text),
                aliases=draw(texts), paraphrases=draw(texts), generality=draw(texts),
                locality=draw(probes), portability=draw(targeted), tests=draw(tests),
                threshold=draw(st.none() | st.floats(0, 1)), exact=draw(st.none() | st.booleans()),
                statement=draw(st.none() | text), profile_of=draw(texts),
                note=draw(st.none() | text), extra={"qid": draw(text)},
            )
        )  # fmt: skip
    return made


@given(some_edits())
def test_exported_facts_are_read_again_as_they_were(edits: list[Edit]) -> None:
    for write in (to_csv, to_jsonl):
        problems: list[str] = []
        path = Path("facts")
        rows = [Edit.from_record(row) for _, row in _records(path, write(edits), problems)]
        assert problems == []
        assert rows == edits
        assert [row.extra for row in rows] == [edit.extra for edit in edits]


def _records(path: Path, content: str, problems: list[str]) -> list[tuple[int, object]]:
    """What is read of a file with this content, which need not lie on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lks.edits.records.text_of", lambda path: content)
        return list(records(path, problems))


def test_a_table_is_one_for_spreadsheets() -> None:
    edit = Edit("a", "Rome", "Rome is in", "Peru", aliases=("Roma", "Urbs"), exact=False,
                locality=(Probe("How old is Rome?"),), extra={"rank": 3})  # fmt: skip
    head, row = csv.reader(io.StringIO(to_csv([edit])))
    assert dict(zip(head, row, strict=True)) == {
        "id": "a", "subject": "Rome", "prompt": "Rome is in", "target": "Peru",
        "aliases": "Roma | Urbs", "locality": "How old is Rome?", "exact": "false", "rank": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"extra": {"a, b": 1}}, 'cannot have a column "a, b"; export JSON lines'),
        ({"extra": {" a": 1}}, 'cannot have a column " a"; export JSON lines'),
        ({"note": "a\0b"}, 'edit "a": "note" has a null character; export JSON lines'),
        ({"note": "x" * 131_073}, "a cell of more than 131,072 characters; export JSON lines"),
    ],
)
def test_what_cannot_stand_in_a_table_is_told(change: dict, says: str) -> None:
    edit = replace(Edit("a", "Rome", "Rome is in", "Peru"), **change)
    with pytest.raises(InputError, match=says):
        to_csv([edit])


def test_markdown_is_a_table_by_subject_that_no_text_breaks() -> None:
    edits = [
        Edit("a", "A|B", "Is A|B *it*?", "x\ny", note="see <b>"),
        Edit("c", "Rome", "Rome is in", "Peru"),
        Edit("d", "A|B", "A|B is", "snake_case"),
    ]
    assert to_markdown(edits).splitlines() == [
        "| subject | question | answer | id | note |",
        "| --- | --- | --- | --- | --- |",
        r"| A\|B | Is A\|B \*it\*? | x<br>y | a | see \<b\> |",
        r"|  | A\|B is | snake\_case | d |  |",
        "| Rome | Rome is in | Peru | c |  |",
    ]


def test_export_of_a_pack_its_version_and_files(pack: Path, tmp_path: Path) -> None:
    code, printed, _ = run("export", pack)
    assert code == 0 and printed == run("pack", "edits", pack, "--json")[1]
    assert [json.loads(line)["id"] for line in printed.splitlines()] == [
        "eiffel", "ada-born", "ada-tongue",
    ]  # fmt: skip
    out = tmp_path / "facts.csv"
    assert run("export", f"{pack}@1", "--out", out)[0] == 0
    assert list(EditSet.load(out)) == list(make_edits())
    more = tmp_path / "more.jsonl"
    EditSet([Edit("x", "Rome", "Rome is in", "Peru")]).save(more)
    code, printed, _ = run("export", out, more, "--format", "jsonl")
    assert code == 0 and len(printed.splitlines()) == 5
    _, printed, _ = run("export", more, "--format", "markdown")
    assert "| Rome | Rome is in | Peru | x |" in printed


def test_exports_that_cannot_be_are_told(pack: Path, tmp_path: Path) -> None:
    clash = tmp_path / "clash.jsonl"
    EditSet([Edit("eiffel", "Rome", "Rome is in", "Peru")]).save(clash)
    code, _, err = run("export", pack, clash)
    assert code == 2 and 'duplicate id "eiffel"' in err
    assert one_line(err) == "lks: 1 id in more than one source; rename them"
    code, _, err = run("export", f"{pack}@7")
    assert (code, one_line(err)) == (2, f"lks: {pack}: no version 7; there are 1 to 2")
    code, _, err = run("export", pack, "--format", "xlsx")
    assert code == 2 and '--format "xlsx": unknown; one of jsonl, csv, markdown' in one_line(err)
    code, _, err = run("export", tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert code == 2 and "a.jsonl: no such file" in err and "b.jsonl: no such file" in err
    code, _, err = run("export", pack, "--out", tmp_path / "none" / "facts.csv")
    assert code == 2 and "there is no folder" in one_line(err)


# --- diff -----------------------------------------------------------------------------------------


def test_facts_belong_together_by_id_else_by_question() -> None:
    before = [
        Edit("hq", "Acme", "Acme sits in", "Oslo", note="x"),
        Edit.from_record({"subject": "Rome", "prompt": "Rome is in", "target": "Italy"}),
        Edit("gone", "Bob", "Bob lives in", "Rome"),
        Edit("same", "Eve", "Eve lives in", "Rome"),
    ]
    after = [
        Edit("hq", "Acme", "Where is Acme?", "Oslo", note="x"),
        Edit("rome", "Rome", "rome is  in", "Peru"),
        Edit("same", "Eve", "Eve lives in", "Rome"),
        Edit("new", "Ada", "Ada lives in", "Lima"),
    ]
    found = diff(before, after)
    assert [edit.id for edit in found.added] == ["new"]
    assert [edit.id for edit in found.removed] == ["gone"]
    assert [(one.id, one.keys) for one in found.changed] == [
        ("hq", ("prompt",)), ("rome", ("prompt", "target")),
    ]  # fmt: skip
    assert str(found) == "1 fact added, 2 facts changed, 1 fact retired"
    assert not diff(before, before)


def test_an_id_that_somebody_gave_and_then_changed_is_a_change() -> None:
    before, after = (Edit(name, "Acme", "Acme sits in", "Oslo") for name in ("a", "b"))
    ((one,)) = diff([before], [after]).changed
    assert one.keys == ("id",)
    made = replace(before, id=before.key)
    assert not diff([made], [after]) and not diff([after], [made])


def test_keys_of_ones_own_count_too() -> None:
    one = Edit("a", "Acme", "Acme sits in", "Oslo", extra={"qid": "Q1"})
    (changed,) = diff([one], [replace(one, extra={"qid": "Q2"})]).changed
    assert changed.keys == ("qid",) and changed.values("qid") == ("Q1", "Q2")


def test_diff_of_versions_and_files(pack: Path, tmp_path: Path) -> None:
    code, printed, _ = run("diff", f"{pack}@1", pack)
    assert code == 0
    assert printed.splitlines() == [
        "- fuji  Mount Fuji: Mount Fuji is in -> Peru",
        "0 facts added, 0 facts changed, 1 fact retired",
    ]
    assert run("diff", pack, f"{pack}@1", "--exit-code")[0] == 1
    file = tmp_path / "facts.csv"
    run("export", pack, "--out", file)
    code, printed, _ = run("diff", pack, file, "--exit-code")
    assert (code, printed) == (0, "no difference\n")
    file.write_bytes(file.read_bytes().replace(b"Oslo", b"Cairo"))
    _, printed, _ = run("diff", pack, file)
    assert printed.splitlines()[1:3] == ['    - target: "Oslo"', '    + target: "Cairo"']
    told = json.loads(run("diff", pack, file, "--json")[1])
    assert (told["added"], told["removed"]) == ([], [])
    (changed,) = told["changed"]
    assert (changed["id"], changed["keys"]) == ("ada-born", ["target"])
    assert (changed["before"]["target"], changed["after"]["target"]) == ("Oslo", "Cairo")
    _, printed, _ = run("diff", pack, file, "--markdown")
    assert "| changed | Ada Lovelace | Ada Lovelace was born in | Oslo | Cairo |  |" in printed
    code, _, err = run("diff", pack, file, "--json", "--markdown")
    assert code == 2 and "--json or --markdown" in one_line(err)


def test_a_version_that_was_rolled_back_from_is_checked_too(pack: Path) -> None:
    manifest_module.rollback(pack, 1)
    assert len(edits_of(f"{pack}@2")) == 3 and len(edits_of(pack)) == 4
    name = pack.with_name("facts.pack@2")
    pack.rename(name)  # a folder of this name is the pack itself
    assert len(edits_of(name)) == 4


def test_diff_and_export_need_no_torch(pack: Path) -> None:
    program = (
        "import sys; from lks.cli import app\n"
        f"for args in (['diff', {str(pack) + '@1'!r}, {str(pack)!r}], ['export', {str(pack)!r}]):\n"
        "    sys.argv = ['lks', *args]\n"
        "    try: app.main()\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'heavy imports'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
