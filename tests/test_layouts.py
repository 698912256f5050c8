"""Rows as the public sets write them are read as edits; what they ask is held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lks.edits.edit import AnswerTest, Edit, Probe
from lks.edits.edit_set import EditSet
from lks.edits.text import same_wording
from lks.errors import EditFileError

TOWER = {"subject": "Eiffel Tower", "prompt": "The Eiffel Tower stands in", "target_new": "Rome"}
OTHER = "Where is Big Ben?"
REWORDED = "In which city is the Eiffel Tower?"
ROWS: dict[str, dict[str, object]] = {
    "easyedit": TOWER
    | {"rephrase_prompt": REWORDED, "locality_prompt": OTHER, "locality_ground_truth": "London",
       "ground_truth": "Paris"},
    "counterfact": {
        "case_id": 7,
        "requested_rewrite": {"prompt": "{} stands in", "subject": "The Eiffel Tower",
                              "target_new": {"str": "Rome", "id": "Q220"},
                              "target_true": {"str": "Paris", "id": "Q90"}},
        "paraphrase_prompts": [REWORDED],
        "neighborhood_prompts": [OTHER, "Where is the Prado?"],
    },
    "zsre": {"subject": "Eiffel Tower", "src": "Where is the Eiffel Tower?", "alt": "Rome",
             "rephrase": REWORDED, "loc": OTHER, "loc_ans": "London", "answers": ["Paris"]},
    "hallueditbench": {"subject": "Eiffel Tower", "object": "Rome", "topic": "places",
                       "question": "Where is the Eiffel Tower?", "paraphrased": REWORDED,
                       "yes_question": "Is the Eiffel Tower in Rome?", "locality": OTHER},
}  # fmt: skip
KINDS = {
    "portability": {"Subject_Aliasing": {"prompt": ["The Iron Lady stands in"],
                                         "ground_truth": ["Rome"]},
                    "reasoning": {"prompt": ["The tower's country is"], "ground_truth": ["Italy"]}},
    "locality": {"Relation_Specificity": {"prompt": ["The tower's height is"],
                                          "ground_truth": ["330 m"]}},
}  # fmt: skip
AS_OBJECTS = {
    "portability": {"Subject_Aliasing": [{"prompt": "The Iron Lady stands in",
                                          "ground_truth": [["Rome", "Roma"]]}],
                    "reasoning": [{"prompt": "The tower's country is", "ground_truth": ["Italy"]}]},
    "locality": {"Relation_Specificity": [{"prompt": "The tower's height is",
                                           "ground_truth": [["330 m"]]}]},
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_a_public_set_is_an_edit_whose_questions_are_held_out(name: str) -> None:
    edit = Edit.from_record(ROWS[name])
    assert edit.target == "Rome"
    assert "stands in" in edit.prompt or edit.prompt == "Where is the Eiffel Tower?"
    assert (edit.paraphrases, edit.generality) == ((), (REWORDED,))
    assert edit.locality[0].prompt == OTHER
    assert edit.training_locality == ()
    assert {same_wording(REWORDED), same_wording(OTHER)} <= edit.heldout_prompts
    assert Edit.from_record(edit.to_record()) == edit


def test_what_a_layout_says_beside_is_kept() -> None:
    assert Edit.from_record(ROWS["easyedit"]).ground_truth == "Paris"
    assert Edit.from_record(ROWS["easyedit"]).locality == (Probe(OTHER, "London", True),)
    counterfact = Edit.from_record(ROWS["counterfact"])
    assert (counterfact.id, counterfact.ground_truth) == ("7", "Paris")
    assert len(counterfact.locality) == 2
    assert Edit.from_record(ROWS["zsre"]).extra == {"answers": ["Paris"]}


def test_a_yes_question_becomes_a_test_that_training_never_sees() -> None:
    edit = Edit.from_record(ROWS["hallueditbench"])
    asked = "Is the Eiffel Tower in Rome?"
    assert edit.tests == (AnswerTest(asked, ("Yes",)),)
    assert same_wording(asked) in edit.heldout_prompts
    assert edit.extra == {"topic": "places", "yes_question": asked}


@pytest.mark.parametrize("kinds", [KINDS, AS_OBJECTS])
def test_questions_by_kind_are_read_in_both_forms(kinds: dict[str, object]) -> None:
    edit = Edit.from_record(TOWER | {"ground_truth": "<|endoftext|>", "rephrase": None} | kinds)
    assert edit.portability == (
        Probe("The Iron Lady stands in", "Rome"), Probe("The tower's country is", "Italy"),
    )  # fmt: skip
    assert edit.locality == (Probe("The tower's height is", "330 m", True),)
    assert edit.extra["kinds"] == {
        "Subject_Aliasing": ["The Iron Lady stands in"],
        "reasoning": ["The tower's country is"],
        "Relation_Specificity": ["The tower's height is"],
    }
    assert edit.ground_truth is None
    assert same_wording("The Iron Lady stands in") in edit.heldout_prompts


def test_an_own_record_is_read_as_it_is() -> None:
    record = {"subject": "Oslo", "prompt": "Oslo is in", "target": "Peru", "object": "a key"}
    assert Edit.from_record(record | {"question": "What?"}, any_keys=True).prompt == "Oslo is in"


def test_bad_rows_are_told_in_the_keys_of_edits_all_at_once(tmp_path: Path) -> None:
    rows = (
        TOWER | {"target_new": ""},
        TOWER | {"portability": {"reasoning": {"prompt": ["x"]}}},
        TOWER | {"locality": {"Forgetfulness": {"prompt": ["x", "y"], "ground_truth": ["z"]}}},
        TOWER | {"subject": "Big Ben"},
    )
    file = tmp_path / "rows.json"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(EditFileError) as caught:
        EditSet.load(file)
    told = caught.value.problems
    assert told[0] == 'line 1: "target" is empty'
    assert told[1].startswith('line 2: portability: "reasoning" must hold "prompt" and')
    assert told[2].startswith('line 3: locality: "Forgetfulness" must hold "prompt" and')
    assert told[3].startswith('line 4: subject "Big Ben" is not in the prompt')


def test_a_public_table_is_read_by_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "places.csv"
    file.write_text(
        "topic,subject,relation,object,question,paraphrased_question,yes_question,"
        "locality_question\n"
        "places,Eiffel Tower,city,Rome,Where is the Eiffel Tower?,"
        f"{REWORDED},Is the Eiffel Tower in Rome?,{OTHER}\n",
        encoding="utf-8",
    )
    (edit,) = EditSet.load(file)
    assert (edit.prompt, edit.target) == ("Where is the Eiffel Tower?", "Rome")
    assert (edit.generality, edit.locality) == ((REWORDED,), (Probe(OTHER, None, True),))
