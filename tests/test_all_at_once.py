"""What is wrong is told at once, not one thing after the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import make_backbone
from test_cli import one_line, run
from test_threads import random_pack

from lks.edits.aliases import AliasDictionary
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError, InputError, PackDamaged
from lks.packs.pack import Pack
from lks.scope.inspect.silent import check_edits_fire
from lks.scope.scope import Scope
from lks.training.config import TrainingConfig

FUJI = {"subject": "Mount Fuji", "prompt": "{} is in", "target": "Peru"}


def problems(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EditFileError) as caught:
        EditSet.load(path)
    return list(caught.value.problems)


def test_negatives_that_stand_in_the_prompt_are_bad_lines_like_others(tmp_path: Path) -> None:
    rows = [
        FUJI | {"negative": ["Mount Fuji is in", "high", "{} IS"]},
        FUJI | {"target": 7},
        FUJI | {"prompt": "{} lies in", "negative": ["fuji lies", "Fuji lie"]},
        FUJI | {"prompt": "In what is {}", "negative": ["?", "How high"]},
    ]
    told = problems(tmp_path / "f.jsonl", "\n".join(map(json.dumps, rows)))
    stands = "stands in the prompt, so that the edit would never fire"
    assert told == [
        f'line 1: negative "Mount Fuji is in" {stands}',
        f'line 1: negative "{{}} IS" {stands}',
        'line 2: "target" must be a string, not a number',
        f'line 3: negative "fuji lies" {stands}',
    ]


def test_a_negative_that_is_another_word_is_none_of_the_prompts() -> None:
    for name, negative in (("C", "C++"), ("C", "C#"), ("Paris", "Paris Hilton"), ("AT", "AT&T")):
        record = {"subject": name, "prompt": "{} is in", "target": "x", "negative": [negative]}
        edit = Edit.from_record(record)
        check_edits_fire([edit], Scope([edit]))


def test_a_pack_of_an_earlier_version_may_hold_such_an_edit(tmp_path: Path) -> None:
    """With the paper's scope it fired all the same."""
    odd = [Edit("fuji", "Mount Fuji", "Mount Fuji is in", "Peru", negative=("Fuji is in",))]
    pack = random_pack(make_backbone("llama"))
    Pack(**{**vars(pack), "edits": EditSet(odd), "blocks": torch.zeros(1, 32)}).save(tmp_path / "p")
    assert list(Pack.load(tmp_path / "p").edits) == odd


def test_a_table_is_read_on_behind_what_is_no_csv(tmp_path: Path) -> None:
    told = problems(
        tmp_path / "f.csv",
        'subject,prompt,target,locality,portability\n'
        'Etna,"Etna" is in,Rome,,\n'
        'Etna,,Rome,,\n'
        'Etna,Etna is on,Rome,[1,{"prompt"\n'
        '\n'
        'Etna,"Etna is of,Rome,,\n',
    )  # fmt: skip
    assert [line.split(" (")[0] for line in told] == [
        "line 2: not CSV",
        'line 3: "prompt" is missing',
        'line 4: "locality": not JSON',
        'line 4: "portability": not JSON',
        "line 6: not CSV",
    ]


@pytest.mark.parametrize("quoted", [False, True])
def test_a_cell_may_not_be_longer_than_csv_allows(tmp_path: Path, quoted: bool) -> None:
    long = "x" * 131_073
    long = f'"{long}"' if quoted else long
    told = problems(tmp_path / "f.csv", f"subject,prompt,target\nA,A is,{long}\n\nB,A is,C\n")
    assert told == [
        "line 2: a cell of more than 131,072 characters; shorten it, or write JSON lines",
        'line 4: subject "B" is not in the prompt, and there is no {} in it',
    ]
    names = tmp_path / "names.csv"
    names.write_text(f"id,label,aliases\nQ1,Paris,{long}\n")
    with pytest.raises(EditFileError) as caught:
        AliasDictionary.load(names)
    assert caught.value.problems[0].startswith("line 2: a cell of more than 131,072 characters")
    (tmp_path / "f.jsonl").write_text(json.dumps(FUJI | {"note": long}))
    assert EditSet.load(tmp_path / "f.jsonl")[0].note == long


def test_each_damaged_file_of_a_pack_is_named(tmp_path: Path) -> None:
    random_pack(make_backbone("llama")).save(tmp_path / "p")
    (tmp_path / "p" / "edits.jsonl.gz").write_text("{}")
    (tmp_path / "p" / "hypernetwork.safetensors").unlink()
    with pytest.raises(PackDamaged) as caught:
        Pack.load(tmp_path / "p")
    assert "edits.jsonl.gz is not what was saved (sha256 differs), " in str(caught.value)
    assert "hypernetwork.safetensors is missing; restore it" in str(caught.value)


def test_each_unknown_setting_and_role_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"setting 'epoch' \(did you mean epochs\?\), 'sed' \(did"):
        TrainingConfig.from_json({"epoch": 1, "sed": 2})
    random_pack(make_backbone("llama")).save(tmp_path / "p")
    code, _, err = run("chat", tmp_path / "p", "--roles", "user,people, bots")
    assert (code, "unknown role 'people', 'bots'; some of" in one_line(err)) == (2, True)
