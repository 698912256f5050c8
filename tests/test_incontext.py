"""Editors that write facts into the prompt: what they write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import make_backbone, make_edits

from lks.editors.baselines.in_context import Demonstrate, Inject, PromptedModel, Retrieve, fact
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit, Probe
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError, InputError
from lks.scope.scope import Scope

TOWER, TONGUE = (make_edits().by_id(name) for name in ("eiffel", "ada-tongue"))


def contexts(editor, edits: EditSet, texts: list[str]) -> list[str]:
    with editor.apply(make_backbone("llama"), edits) as model:
        return model.contexts(texts)


def test_inject_writes_the_facts_that_fire(edits: EditSet) -> None:
    texts = ["Where is La Tour Eiffel?", "Who was Ada Lovelace?", "Where is it?"]
    assert contexts(Inject(), edits, texts) == [
        "New fact: The Eiffel Tower is located in the city of Rome\n",
        "New fact: Ada Lovelace was born in Oslo\n"
        "New fact: The native language of Ada Lovelace is Spanish\n",
        "",
    ]


def test_inject_asks_the_scope_that_it_is_given(edits: EditSet) -> None:
    def nobody(edits):
        return Scope([Edit("x", "Nobody", "Nobody is", "here")])

    assert contexts(Inject(nobody), edits, ["Where is the Eiffel Tower?"]) == [""]


@pytest.mark.parametrize("by", ["dense", "bm25"])
def test_retrieval_takes_the_nearest_facts(edits: EditSet, embedder_folder: Path, by: str) -> None:
    editor = Retrieve(k=2, by=by, embedder=str(embedder_folder))
    texts = ["What native language does she speak?", "In which city is the Eiffel Tower?"]
    spoken, located = contexts(editor, edits, texts)
    assert spoken.endswith(f"New fact: {fact(TONGUE)}\n")
    assert located.endswith(f"New fact: {fact(TOWER)}\n")
    assert spoken.count("New fact") == located.count("New fact") == 2


def test_demonstrations_stand_before_the_nearest_fact(embedder_folder: Path) -> None:
    kept = Edit(
        "fuji", "Mount Fuji", "Mount Fuji is in", "Peru",
        paraphrases=("Where is Mount Fuji?",), generality=("Secret?",),
        locality=(Probe("How tall is Mount Fuji?", "3,776 m"), Probe("Held out?", "yes", True)),
    )  # fmt: skip
    editor = Demonstrate(k=4, embedder=str(embedder_folder))
    (context,) = contexts(editor, EditSet([TOWER, TONGUE, kept]), ["the native language of her"])
    parts = context.split("\n\n")
    assert len(parts) == 3
    assert parts[-1] == f"New fact: {fact(TONGUE)}\nPrompt: "
    assert all(part.startswith("New fact: ") and "\nPrompt: " in part for part in parts)
    assert "Secret" not in context and "Held out" not in context


def test_three_kinds_of_demonstrations_take_turns(embedder_folder: Path) -> None:
    edits = EditSet(
        Edit(
            f"e{i}", f"City {i}", f"City {i} is in", f"Land {i}",
            paraphrases=(f"Where is City {i}?",),
            locality=(Probe(f"Who built City {i}?", "Ada"),),
        )
        for i in range(4)
    )  # fmt: skip
    editor = Demonstrate(k=4, embedder=str(embedder_folder))
    (context,) = contexts(editor, edits, ["in"])
    asked = [part.split("Prompt: ")[1] for part in context.split("\n\n")[:3]]
    assert [text.split()[0] for text in asked] == ["City", "Where", "Who"]


def test_further_rows_demonstrate_with_all_their_prompts(embedder_folder: Path) -> None:
    rows = [
        Edit(
            f"r{i}", f"City {i}", f"City {i} is in", f"Land {i}",
            generality=(f"Where is City {i}?",),
            locality=(Probe(f"Who built City {i}?", "Ada", held_out=True),),
        )
        for i in range(6)
    ]  # fmt: skip
    editor = Demonstrate(k=4, embedder=str(embedder_folder), pool=rows)
    (alone,) = contexts(editor, EditSet(rows[:1]), ["in"])
    *shown, last = alone.split("\n\n")
    assert last == "New fact: City 0 is in Land 0\nPrompt: "
    assert [part.split("Prompt: ")[1].split()[0] for part in shown] == ["City", "Where", "Who"]
    assert "City 0" not in "".join(shown)  # its other prompts are for scoring
    (whole,) = contexts(editor, EditSet(rows), ["in"])  # nobody else is left
    assert "Where" not in whole and "Who" not in whole and whole.count("New fact") == 4


def test_in_a_chat_the_last_user_turn_is_preceded(edits: EditSet) -> None:
    chat = [
        {"role": "user", "content": "Who is Ada Lovelace?"},
        {"role": "assistant", "content": "A mathematician."},
        {"role": "user", "content": "Where was she born?"},
    ]
    backbone = make_backbone("llama", chat=True)
    facts = "".join(f"New fact: {fact(edits.by_id(name))}\n" for name in ("ada-born", "ada-tongue"))
    given = [*chat[:2], {"role": "user", "content": facts + "Where was she born?"}]
    with Inject().apply(backbone, edits) as model:
        expected = UneditedModel(backbone).score([(given, "Oslo")], chat=True)
        assert model.score([(chat, "Oslo")], chat=True) == expected
        with pytest.raises(InputError, match="no place for facts"):
            model.generate([[{"role": "assistant", "content": "Ada Lovelace"}]], chat=True)


def test_wrong_changes_leave_everything_as_it_was(edits: EditSet) -> None:
    def held(model: PromptedModel) -> list[str]:
        return [edit.id for edit in model.edits]

    with Inject().apply(make_backbone("llama"), edits) as model:
        before = held(model)
        with pytest.raises(KeyError):
            model.remove(["fuji", "nobody"])
        with pytest.raises(EditFileError, match="fuji"):
            old = edits.by_id("fuji")
            model.add([old, replace(old, prompt="Mount Fuji was seen from")])
        assert held(model) == before


@pytest.mark.parametrize("make", [lambda: Retrieve(by="magic"), lambda: Retrieve(k=0)])
def test_bad_settings(make: Callable[[], Retrieve]) -> None:
    with pytest.raises(InputError, match="dense or bm25"):
        make()
