from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from test_cli import one_line, run

from lks.edits.aliases import AliasDictionary, AliasEntry
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError
from lks.scope.matcher import Matcher


def edit(subject: str, **extra: str) -> Edit:
    return Edit(subject, subject, f"{subject} is", "x", extra=dict(extra))


NEW_YORK = ("New York City", "NYC", "纽约市")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"id": "Q60", "label": "New York City", "aliases": ["NYC", "纽约市"]}\n\n'),
        ("a.csv", "id,label,aliases\nQ60,New York City,NYC|纽约市\n"),
        ("a.csv", "id;label;aliases\nQ60;New York City;NYC|纽约市\n"),
        (
            "query.csv",
            "item,itemLabel,itemAltLabel\nhttp://x/entity/Q60,New York City,\"NYC, 纽约市\"\n",
        ),
        ("rows.csv", "id,label,aliases\nQ60,New York City,NYC\nQ60,New York City,纽约市\n"),
        (
            "dump.json",
            "[\n"
            + json.dumps({
                "id": "Q60",
                "labels": {"zh": {"value": "纽约市"}, "en": {"value": "New York City"}},
                "aliases": {"en": [{"language": "en", "value": "NYC"}]},
            })
            + ",\n]\n",
        ),
    ],
)  # fmt: skip
def test_dictionary_files(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    loaded = AliasDictionary.load(path)
    assert len(loaded) == 1
    assert set(loaded.names(edit("new york city"))) == set(NEW_YORK)
    matcher = Matcher([edit("New York City")], aliases=loaded)
    assert [(m.surface, m.kind) for m in matcher("NYC; 在纽约市里; New York City")] == [
        ("NYC", "alias"), ("纽约市", "alias"), ("New York City", "exact"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"id": "Q1"}\n{broken\n[1]\n', "3 bad lines"),
        ("a.jsonl", '{"id": "Q1", "label": "Paris", "alias": "Paname"}\n', "no aliases in it"),
        (
            "a.csv",
            "name\nParis\n",
            "no column for an id, nor for a label, nor for aliases among name",
        ),
        ("a.csv", "id,label,alias\nQ1,Paris,x\n", "no column for aliases among id, label, alias"),
        ("a.csv", "id,label,aliases\nQ1,Paris,x,y\n,,\nQ2,,z\n", "2 bad lines"),
        ("a.csv", 'id,label,aliases\nQ1,"Paris,x\nQ2,Rome,y\n', "1 bad line "),
        ("a.csv", 'id,label,aliases\nQ1,"Paris"s,x\nQ2,,z\nQ3,"Ro"me,y\n', "3 bad lines"),
        ("a.csv", '"id"s,label\nQ1,Paris\n', "no column for an id, nor"),
        ("a.jsonl", "\n", "no aliases"),
        ("a.jsonl", None, "cannot be read"),
    ],
)
def test_bad_files_say_so(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(EditFileError, match=message):
        AliasDictionary.load(path)


def test_an_edit_finds_its_entity_only_when_it_is_certain() -> None:
    dictionary = AliasDictionary([
        AliasEntry("Q90", "Paris", ("City of Light",)),
        AliasEntry("Q91", "Paris", ("Paris, Texas",)),
        AliasEntry("Q60", "New York City", ("NYC",)),
        AliasEntry("Q7", "Big Bang", ("NYC Band",)),
    ])  # fmt: skip
    assert dictionary.names(edit("Paris")) == ()
    assert "City of Light" in dictionary.names(edit("Paris", qid="Q90"))
    assert dictionary.names(edit("NYC"))[0] == "New York City"
    assert dictionary.names(edit("Berlin")) == ()


def test_further_names_and_names_in_each_others_way(tmp_path: Path) -> None:
    facts, names = tmp_path / "f.jsonl", tmp_path / "names.csv"
    EditSet([
        Edit("a", "Ada Lovelace", "Ada Lovelace was born in", "Lima"),
        Edit("b", "Mount Fuji", "Mount Fuji is in", "Peru"),
        Edit("c", "Fuji", "Fuji is in", "Chad", aliases=("Mount Fuji",)),
    ]).save(facts)  # fmt: skip
    names.write_text("id,label,aliases\nQ1,Mount Fuji,Fujisan|Fuji-yama\n")
    plain = ["scope", facts, "--scope", "entity", "--json"]

    def found(text: str, *options: object) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            code, out, err = run(*plain, text, *options)
        assert code == 0
        assert 'names in each other\'s way: "mount fuji" is a name of' in one_line(err)
        return [mention["surface"] for mention in json.loads(out)["mentions"]]

    assert found("Fujisan and Lovelace") == []
    assert found("Fujisan and Lovelace", "--aliases", names) == ["Fujisan"]
    assert found("Fujisan and Lovelace", "--aliases", names, "--derived") == ["Fujisan", "Lovelace"]
    code, _, err = run(*plain, "x", "--aliases", tmp_path / "none.csv")
    assert code == 2
    assert "none.csv" in one_line(err)
