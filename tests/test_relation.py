from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lks.edits import profiles
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.embedder import CachedEmbedder, Embedder
from lks.scope.gate import questions
from lks.scope.gate.metric import Exemplars, GateState, Metric
from lks.scope.gate.relation import FOREIGN, RelationGate
from lks.scope.gate.vetoes import denies
from lks.scope.languages.en import open_ended_requests
from lks.scope.normalizer import BETWEEN
from lks.scope.scope import Scope
from lks.scope.types import Reason
from lks.training.gate_metric import LEAST_EDITS, LEAST_OPEN, learn, train_metric
from lks.training.prompts import TrainingPrompts, training_prompts


@pytest.fixture
def embed(embedder_folder: Path) -> Embedder:
    return Embedder(str(embedder_folder))


def ada(*more: Edit, **changes: object) -> list[Edit]:
    fields = {"id": "born", "subject": "Ada Lovelace", "prompt": "Ada Lovelace was born in",
              "target": "Oslo", "paraphrases": ("Where was Ada Lovelace born?",)}  # fmt: skip
    speaks = Edit("speaks", "Ada Lovelace", "The native language of Ada Lovelace is", "Spanish")
    return [Edit(**{**fields, **changes}), speaks, *more]  # type: ignore[arg-type]


def gated(embed: Embedder, edits: list[Edit], **thresholds: float) -> Scope:
    prompts = [TrainingPrompts(edit.paraphrases, edit.training_locality) for edit in edits]
    open_ended = embed(open_ended_requests())
    plain = Metric(np.eye(64, dtype=np.float32), open_ended, threshold=0.58, open_threshold=0.72)
    metric, exemplars = learn(embed, edits, prompts, metric=plain)
    learnt = GateState(replace(metric, **thresholds), exemplars)
    return Scope(edits, RelationGate.of(learnt, embed, edits))


def fired(scope: Scope, text: str) -> list[str]:
    return [edit_id for mention in scope.fired([text])[0] for edit_id in mention.edit_ids]


# --- gate -----------------------------------------------------------------------------------------


def test_the_edit_whose_relation_is_asked_fires(embed: Embedder) -> None:
    scope = gated(embed, ada())
    assert fired(scope, "Where was Ada Lovelace born?") == ["born"]
    assert fired(scope, "What is the native language of Ada Lovelace?") == ["speaks"]
    assert fired(scope, "How high is Ada Lovelace?") == []
    assert fired(scope, "Many tall people built high there: Ada Lovelace. Where was she born?") == [
        "born"
    ]


def test_in_another_script_a_sentence_must_be_nearer_to_an_english_embedder(
    embed: Embedder,
) -> None:
    edits = [Edit("born", "Ада", "Ада родилась в", "Oslo")]
    prompts = [TrainingPrompts((), ())]
    metric = Metric(np.eye(64, dtype=np.float32), embed(open_ended_requests()), 0.0, 1.0)
    metric, exemplars = learn(embed, edits, prompts, metric=metric)
    for name, needed in (("minilm", [FOREIGN, 0.0]), ("other", [0.0, 0.0])):
        scope = Scope(edits, RelationGate.of(GateState(metric, exemplars, name), embed, edits))
        asked = scope.examine(["Ада родилась в", "Ада, where was she born?"])
        assert [found[0].decisions[0].threshold for found in asked] == needed


def test_the_last_sentence_that_asks_decides(embed: Embedder) -> None:
    scope = gated(embed, ada())
    both = "Ada Lovelace was born in a city. The native language of Ada Lovelace is old"
    assert fired(scope, both) == ["speaks"] * 2
    assert reasons(scope, both)["born"] == Reason.LATER
    asked = "Where was Ada Lovelace born? Oslo. What is the native language of Ada Lovelace?"
    assert fired(scope, asked) == ["speaks"] * 2
    assert fired(scope, "Where was Ada Lovelace born? Oslo. Are you sure?") == ["born"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Where was Ada Lovelace born? Oslo. How high is she?", []),
        ("Where was Ada Lovelace born? Oslo. Is that right?", ["born"]),
        ("Where was Ada Lovelace born? In Bergen. How high is she?", ["born"]),
        ("Where was Ada Lovelace born? Oslo. Thank you.", ["born"]),
        ("Oslo is where Ada Lovelace was born. How high is she?", []),
    ],
)
def test_an_answered_question_fires_no_longer(embed: Embedder, text: str, found: list[str]) -> None:
    scope = gated(embed, ada())
    assert fired(scope, text) == found
    if not found:
        assert reasons(scope, text)["born"] == Reason.ANSWERED


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ("How high is the Eiffel Tower?", []),
        ("And her mother?", []),
        ("Are you sure?", ["born"]),
        ("Isn't that outdated?", ["born"]),
        ("In one word, please.", ["born"]),
        ("Where was she born?", ["born"]),
    ],
)
def test_the_last_turn_of_a_chat_decides(embed: Embedder, last: str, found: list[str]) -> None:
    scope = gated(embed, ada())
    text = BETWEEN.join(["Where was Ada Lovelace born?", "In Bergen.", last])
    assert fired(scope, text) == found
    if not found:
        assert reasons(scope, text)["born"] == Reason.LATER_TURN


def reasons(scope: Scope, text: str) -> dict[str, Reason]:
    return {v.edit_id: v.reason for found in scope.examine([text])[0] for v in found.decisions}


def test_an_open_ended_request_fires_the_profile_alone(embed: Embedder) -> None:
    edits = ada()
    scope = gated(embed, [*edits, *profiles.missing(edits)])
    (profile,) = fired(scope, "Tell me about Ada Lovelace")
    assert profile.startswith("profile-")
    assert reasons(scope, "Tell me about Ada Lovelace") == {
        "born": Reason.PROFILED, "speaks": Reason.PROFILED, profile: Reason.OPENED,
    }  # fmt: skip
    assert fired(scope, "Where was Ada Lovelace born?") == ["born"]
    assert reasons(scope, "Where was Ada Lovelace born?")[profile] == Reason.NOT_OPENED


def test_of_a_request_and_a_question_the_later_decides(embed: Embedder) -> None:
    edits = ada()
    scope = gated(embed, [*edits, *profiles.missing(edits)])
    request, question = "Tell me about Ada Lovelace.", "Where was Ada Lovelace born?"
    assert fired(scope, f"{request} {question}") == ["born"] * 2
    assert [e[:8] for e in fired(scope, f"{question} {request}")] == ["profile-"] * 2


def test_without_a_profile_an_open_ended_request_is_left_alone(embed: Embedder) -> None:
    edits = ada()
    resting = replace(profiles.missing(edits[:1])[0], id="old")  # it states one fact of two
    scope = gated(embed, [*edits, resting])
    assert fired(scope, "Tell me about Ada Lovelace") == []
    assert set(reasons(scope, "Tell me about Ada Lovelace").items()) == {
        ("born", Reason.UNPROFILED), ("speaks", Reason.UNPROFILED),
    }  # fmt: skip
    assert fired(scope, "Where was Ada Lovelace born? Tell me about Ada Lovelace") == ["born"] * 2


def test_open_ended_requests_can_be_left_alone(embed: Embedder) -> None:
    edits = ada()
    scope = gated(embed, [*edits, *profiles.missing(edits)], open_threshold=1.0)
    assert fired(scope, "Tell me about Ada Lovelace") == []
    assert fired(scope, "Where was Ada Lovelace born?") == ["born"]


def test_a_mention_that_does_not_fire_says_why(embed: Embedder) -> None:
    (found,) = gated(embed, ada()).examine(["How high is Ada Lovelace?"])[0]
    assert not found.mention.fired
    assert found.mention.edit_ids == ("born", "speaks")
    assert found.mention.gate == max(decision.score for decision in found.decisions)
    assert {decision.reason for decision in found.decisions} == {Reason.BELOW}
    assert found.decisions[0].sentence == "How high is it?"


def test_a_fact_that_stands_in_the_text_leaves_it_to_the_next_question(embed: Embedder) -> None:
    bob = Edit("bob", "Bob Ray", "Bob Ray was born in", "Cork")
    scope = gated(embed, ada(bob))
    own, his = "Ada Lovelace was born in", "Where was Bob Ray born?"
    assert fired(scope, f"{own} Oslo.") == ["born"]
    assert fired(scope, f"{own} OSLO. {his}") == ["bob"]
    assert reasons(scope, f"{own} Oslo. {his}")["born"] == Reason.STATED
    for text in (f"{own} Oslos. {his}", f"{own}? {his}", f"Oslo! {own}. {his}"):
        assert fired(scope, text) == ["born", "bob"], "nothing says it"
    assert fired(scope, f"{own} Oslo. {his} {own}") == ["born", "bob", "born"]
    assert fired(scope, f"{own} Oslo. How high is Bob Ray?") == ["born"], "nothing else fires"


@pytest.mark.parametrize(
    "sentence",
    ["it is not", "it was not born in", "it doesn't speak", "it cannot play", "It isn\u2019t in",
     "The capital of it is not", "it was never in", "it is no longer in", "it, created by not"],
)  # fmt: skip
def test_a_sentence_may_say_what_is_not_so(sentence: str) -> None:
    assert denies(sentence)


@pytest.mark.parametrize(
    "sentence",
    ["it is in", "Where was it not born?", "Isn't it in", "it, not far from the sea, is in",
     "it is not only old", "I do not know where it was born", "it is not young and was born in",
     "I met it, but I do not know where he was born", "it, who is not young, lives in",
     "Tell me whether it is in Rome or not"],
)  # fmt: skip
def test_not_every_not_denies_the_fact(sentence: str) -> None:
    assert not denies(sentence)


def test_an_edit_is_silent_where_the_text_says_what_is_not_so(embed: Embedder) -> None:
    scope, denial = gated(embed, ada()), "Ada Lovelace was not born in"
    assert fired(scope, denial) == []
    assert reasons(scope, denial)["born"] == Reason.DENIED
    assert fired(scope, f"{denial} Paris. Where was Ada Lovelace born?") == ["born"] * 2
    assert fired(gated(embed, ada(prompt=denial)), denial) == ["born"]


def test_negatives_keep_an_edit_from_firing(embed: Embedder) -> None:
    question = "Where was Ada Lovelace built?"
    assert fired(gated(embed, ada(threshold=0.3)), question) == ["born"]
    assert fired(gated(embed, ada(threshold=0.3, negative=("built",))), question) == []
    other = ada(threshold=0.3, negative=("Where was Ada Lovelace built today?",))
    assert fired(gated(embed, other), question) == []
    assert fired(gated(embed, other), "Where was Ada Lovelace born?") == ["born"]


def test_negative_phrases_are_whole_words() -> None:
    edit = Edit("a", "Mercury", "Mercury is", "x", negative=("car", "!"))
    scope = Scope([edit])
    assert fired(scope, "Is Mercury scarred?") == fired(scope, "Mercury, Oscar!") == ["a"]
    assert fired(scope, "the car of Mercury") == []


def test_half_a_character_breaks_nothing(embed: Embedder) -> None:
    assert fired(gated(embed, ada()), "\ud83d Where was Ada Lovelace born?") == ["born"]


def test_negative_phrases_work_without_a_gate() -> None:
    scope = Scope([Edit("a", "Paris", "Paris is in", "Peru", negative=("Paris Hilton",))])
    assert fired(scope, "Paris is") == ["a"]
    assert fired(scope, "PARIS HILTON and Paris Hilton are") == []


def test_an_edits_own_threshold(embed: Embedder) -> None:
    assert fired(gated(embed, ada(threshold=1.0)), "In which city was Ada Lovelace born?") == []
    assert fired(gated(embed, ada(threshold=0.2)), "In which city was Ada Lovelace born?") == [
        "born"
    ]


def test_many_texts_are_judged_as_one_alone(embed: Embedder) -> None:
    scope = gated(embed, ada())
    texts = [
        "Where was Ada Lovelace born?",
        "Rome",
        "How high is Ada Lovelace?",
        "Tell me about it",
    ]
    assert scope.fired(texts) == [scope.fired([text])[0] for text in texts]


def test_a_text_is_cut_into_sentences_once(embed: Embedder, monkeypatch) -> None:
    """Not once an entity: a long text may name hundreds."""
    bob = Edit("bob", "Bob Ray", "Bob Ray was born in", "Cork")
    scope, cut, inner = gated(embed, ada(bob)), [], questions._ends
    monkeypatch.setattr(questions, "_ends", lambda *given: cut.append(1) or inner(*given))
    assert len(fired(scope, "Ada Lovelace was born in a city. Bob Ray was born in")) == 2
    scope.fired(["Nobody is named here."])
    assert len(cut) == 1


def test_without_a_mention_nothing_is_embedded() -> None:
    def never(texts: object) -> np.ndarray:
        raise AssertionError("embedded")

    metric = Metric(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 0.58, 0.72)
    edits = [Edit("a", "Paris", "Paris is", "x")]
    gate = RelationGate(never, metric, edits, Exemplars.none(2))
    assert Scope(edits, gate).mentions("Rome is old.") == []


def test_references_can_be_parted_and_joined(embed: Embedder) -> None:
    whole = Exemplars.of(embed, [["where", "born"], ["speak"], ["born"]], [[], ["high"], []])
    parts = Exemplars.joined([whole.only([0]), whole.only([1, 2])], [1, 2])
    assert sorted(parts.edit.tolist()) == [0, 0, 1, 1, 2]
    for i in range(3):
        for one, two in zip(_of(whole, i), _of(parts, i), strict=True):
            assert np.array_equal(one, two)
    assert len(whole.only([2, 0]).vectors) == 2
    assert _of(whole.only([2, 0]), 0)[0].tolist() == _of(whole, 2)[0].tolist()


def _of(exemplars: Exemplars, edit: int) -> tuple[np.ndarray, np.ndarray]:
    own = exemplars.edit == edit
    order = np.argsort(exemplars.negative[own], kind="stable")
    return exemplars.vectors[exemplars.vector[own]][order], exemplars.negative[own][order]


def test_the_metric_learns_what_tells_relations_apart(embed: Embedder) -> None:
    wordings = [["where was it born", "the birthplace of it is"], ["how old is it", "it lives in"]]
    others, half = [["who is it in the city of"], ["what language does it speak"]], LEAST_EDITS // 2
    learnt = train_metric(embed, wordings * half, others * half, [False] * 2 * half, least=0.6)
    one, two, other = learnt(embed([*wordings[0], *others[0]]))
    assert one @ two > learnt.threshold > max(one @ other, two @ other)
    again = train_metric(embed, wordings * half, others * half, [False] * 2 * half, least=0.9)
    assert np.array_equal(learnt.matrix, again.matrix)
    assert learnt.threshold == again.threshold, "learnt, too"


def test_of_few_edits_that_tell_both_nothing_is_learnt(embed: Embedder) -> None:
    told = [["where was it born", "the birthplace of it is"]], [["how old is it"]]
    for wordings, others in (
        ([], []),
        (told[0] * (LEAST_EDITS - 1), told[1] * (LEAST_EDITS - 1)),
        (told[0] * 200, [[]] * 200),  # one relation, without locality prompts
        ([["where was it born"] * 2] * 200, told[1] * 200),  # without paraphrases
    ):
        metric = train_metric(embed, wordings, others, [True] * len(wordings), least=0.61)
        assert np.array_equal(metric.matrix, np.eye(64))
        assert (metric.threshold, metric.open_threshold) == (0.61, LEAST_OPEN)
    none = [False] * LEAST_EDITS
    learnt = train_metric(embed, told[0] * LEAST_EDITS, told[1] * LEAST_EDITS, none, least=0.61)
    assert not np.array_equal(learnt.matrix, np.eye(64))


WORDS = (
    *("river", "flag", "price", "colour", "owner", "age", "rule", "engine", "music", "doctor"),
    *("winter", "harbour", "choir", "ticket", "rocket", "spice", "lawyer", "garden", "coin"),
    *("saint", "bridge", "poem"),
)


def test_without_locality_prompts_many_relations_are_told_from_each_other(embed: Embedder) -> None:
    wordings = [[f"which {word} has it", f"{word} of it"] for word in WORDS]
    asks, many = wordings * 4, 4 * len(WORDS)
    borrowed = train_metric(embed, asks, [[]] * many, [False] * many, least=0.61)
    assert np.array_equal(borrowed.matrix, np.eye(64)), "wordings of common relations only"
    learnt = train_metric(embed, asks, [[]] * many, [True] * many, least=0.61)
    asked, told = (learnt(embed([own[k] for own in wordings])) for k in range(2))
    cosines = asked @ told.T
    right = cosines.diagonal() >= learnt.threshold
    wrong = cosines[~np.eye(len(WORDS), dtype=bool)] >= learnt.threshold
    assert right.mean() > 0.95
    assert wrong.mean() < 0.05


# --- the default embedder -------------------------------------------------------------------------

CLEAR = [
    Edit("born", "Ada Lovelace", "Ada Lovelace was born in", "Oslo"),
    Edit("runs", "Acme", "The chief executive of Acme is", "Ada"),
    Edit("capital", "Peru", "The capital of Peru is", "Lima"),
    Edit("led", "IKEA", "Who is the chief executive of IKEA?", "Ada"),  # in its own case only
]


@pytest.fixture(scope="module")
def clear() -> Scope:
    """Some edits that bring their prompt alone, with the default embedder."""
    embed = CachedEmbedder(Embedder())
    prompts, _ = training_prompts(CLEAR, embed=embed)
    metric, exemplars = learn(embed, CLEAR, prompts)
    return Scope(CLEAR).gated(GateState(metric, exemplars), embed, CLEAR)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What is Ada Lovelace's birthplace?", ["born"]),
        ("\u00bfD\u00f3nde naci\u00f3 Ada Lovelace?", ["born"]),
        ("who is in charge at Acme", ["runs"]),
        ("WHO IS THE BOSS OF ACME?", ["runs"]),
        ("Which city is the capital of Peru?", ["capital"]),
        ("ikea ceo name", ["led"]),  # near to a borrowed wording, not to the prompt
        ("who made the ikea chair", []),
        ("When was Ada Lovelace born?", []),
        ("What did Ada Lovelace study?", []),
        ("Who was the mother of Ada Lovelace?", []),
        ("Who founded Acme?", []),
        ("Where was the CEO of Acme born?", []),
        ("What does Acme make?", []),
        ("How many people live in Peru?", []),
    ],
)
def test_a_question_for_another_fact_of_the_entity_does_not_fire(
    clear: Scope, text: str, found: list[str]
) -> None:
    assert fired(clear, text) == found
    if not found:
        assert {*reasons(clear, text).values()} <= {Reason.BELOW}


def test_an_edit_set_keeps_negatives_and_thresholds() -> None:
    record = {"subject": "Paris", "prompt": "{} is", "target": "x", "negative": "{} Hilton",
              "threshold": 0.5}  # fmt: skip
    edit = Edit.from_record(record)
    assert (edit.negative, edit.threshold) == (("Paris Hilton",), 0.5)
    assert Edit.from_record(edit.to_record()) == edit
    assert len(EditSet([edit])) == 1
