"""Edits and wordings that would never fire, and what is said of them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import make_backbone, make_edits
from test_cli import run
from test_threads import random_pack

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet, EditWarning
from lks.scope.inspect.silent import nameless
from lks.scope.scope import Scope
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

POLICY = Edit("policy", "return policy", "The return policy is", "30 days")
SUDAN = Edit("sudan", "Sudan", "Sudan is in", "Peru", aliases=("Nubia",))
QUICK = TrainingConfig(layer=1, epochs=1, scope="entity")


@pytest.mark.parametrize(
    ("edit", "text", "found"),
    [
        (SUDAN, "Where is it?", False),
        (SUDAN, "Who are the Sudanese?", False),
        (SUDAN, "Where is SUDAN?", True),
        (SUDAN, "Where does Nubia lie?", True),
        (POLICY, "What is our policy for returns?", True),  # the sentence decides
        (POLICY, "What do the retrun policies say?", True),
        (replace(POLICY, negative=("of Ireland",)), "The return policy of Ireland?", False),
    ],
)
def test_a_paraphrase_has_to_name_the_subject_in_some_way(
    edit: Edit, text: str, found: bool
) -> None:
    own = replace(edit, paraphrases=(text, edit.prompt))
    assert [one.text for one in nameless([own], Scope([own]))] == [text] * (not found)


def test_the_name_of_another_entity_is_none() -> None:
    south = Edit("south", "South Sudan", "South Sudan is in", "Lima")
    own = replace(SUDAN, paraphrases=("Where is South Sudan?", "Where is Sudan?"))
    assert [str(one) for one in nameless([own, south], Scope([own, south]))] == [
        'sudan ("Where is South Sudan?")'
    ]


def test_paraphrases_that_name_nobody_are_counted_and_the_first_told() -> None:
    edits = [replace(e, paraphrases=("Where is it?", *e.paraphrases)) for e in make_edits()]
    edits[0] = replace(edits[0], paraphrases=(*edits[0].paraphrases, "How?", "Of what?"))
    backbone = make_backbone("llama", chat=True)
    with pytest.warns(EditWarning, match="^6 paraphrases without a name of the subject") as told:
        train_pack(backbone, EditSet(edits), QUICK)
    (said,) = [str(one.message) for one in told]
    assert 'eiffel ("Where is it?"); eiffel ("How?"); ' in said and "and 1 more; put the" in said
    model = ScalpelModel(backbone, random_pack(backbone))
    new = replace(SUDAN, paraphrases=("Where is it?", "Where is Sudan?"))
    with pytest.warns(EditWarning, match=r'^1 paraphrase without .*: sudan \("Where is it\?"\);'):
        model.add([new], refine=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.add([replace(new, paraphrases=("Where is Sudan?",))], refine=False)


def test_the_preview_of_a_scope_tells_them_too(tmp_path: Path) -> None:
    EditSet([replace(SUDAN, paraphrases=("Where is it?",))]).save(tmp_path / "f.jsonl")
    code, _, err = run("scope", tmp_path / "f.jsonl", "nobody")
    assert code == 0
    assert err.startswith("lks: warning: 1 paraphrase without a name of the subject: no such text")
