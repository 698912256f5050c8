"""The embedded model: it is the published one, it knows facts, and edits on it mean something."""

from __future__ import annotations

import pytest

from lks.cli import demo
from lks.cli.demo import UNRELATED, facts
from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.edits.profiles import missing
from lks.model.backbone import Backbone
from lks.model.embedder import Embedder
from lks.scope.gate.metric import GateState
from lks.scope.gate.relation import RelationGate
from lks.scope.scope import Scope
from lks.training import train_pack as training
from lks.training import verdicts
from lks.training.config import TrainingConfig
from lks.training.gate_metric import learn
from lks.training.prompts import TrainingPrompts, training_prompts
from lks.training.train_pack import train_pack

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]  # training takes its time

QUICK = TrainingConfig(epochs=15, wordings=3)
JUDGED = {  # two of the facts, asked for yes or no
    "Is the Eiffel Tower in Rome?": "Yes.",
    "Is the Eiffel Tower still in Paris?": "No.",
    "So the capital of Japan is Manila, right?": "Yes.",
    "Somebody told me that Tokyo is the capital of Japan. Are they right?": "No.",
}


@pytest.fixture(scope="module")
def real() -> Backbone:
    return Backbone.load("smollm2-135m", device="cpu")


def test_it_knows_facts_plain_and_in_a_chat(real: Backbone) -> None:
    model = UneditedModel(real)
    (plain,) = model.generate(["The Eiffel Tower is located in the city of"], max_new_tokens=4)
    assert plain.startswith("Paris")
    (chat,) = model.generate(["Where is the Eiffel Tower?"], chat=True, max_new_tokens=16)
    assert "Paris" in chat
    assert real.tokenizer("In 1984").input_ids == real.tokenizer("In 1984").input_ids
    assert len(real.tokenizer(" 1984").input_ids) == 5  # digits one by one, as in training
    assert not real.adds_bos


def test_it_is_the_model_that_packs_were_made_for(real: Backbone) -> None:
    """However it is converted: weights bit by bit, and how text is split."""
    found = real.fingerprint
    assert (found.weights[:16], found.shapes[:16], found.tokenizer[:16]) == (
        "0b3491e38b0643f1", "d998b9fdc03c25fa", "f40923940f5e1f42",
    )  # fmt: skip
    assert real.stop_ids == (2,)


def test_facts_are_changed_and_changed_back(
    real: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "verdict_blocks", verdicts.verdict_blocks)
    chosen = EditSet(list(facts())[:6])
    base, edited = UneditedModel(real), ScalpelModel(real, train_pack(real, chosen, QUICK))
    pairs = [(edit.prompt, edit.target) for edit in chosen]
    before = base.score(pairs)
    for chat in (False, True):
        scores = edited.score(pairs, chat=chat)
        assert sum(all(score.matches) for score in scores) >= 5
    written = edited.generate([edit.prompt for edit in chosen], max_new_tokens=12)
    assert sum(text == edit.target for text, edit in zip(written, chosen, strict=True)) >= 5
    held_out = edited.score([(edit.generality[0], edit.target) for edit in chosen])
    assert sum(all(score.matches) for score in held_out) >= 3
    unrelated = [(prompt, "some text") for prompt in UNRELATED]
    assert edited.score(unrelated) == base.score(unrelated)
    for chat in (False, True):
        said = edited.generate(list(JUDGED), chat=chat, max_new_tokens=8)
        assert dict(zip(JUDGED, said, strict=True)) == JUDGED
    edited.remove([edit.id for edit in chosen])
    assert edited.score(pairs) == before


def test_the_gate_tells_questions_apart() -> None:
    edits, embed = facts()[:40], Embedder()
    prompts = [TrainingPrompts(edit.paraphrases, edit.training_locality) for edit in edits]
    metric, exemplars = learn(embed, edits, prompts)
    learnt = GateState(metric, exemplars)
    scope = Scope(edits, RelationGate.of(learnt, embed, edits))

    def share(texts: list[str]) -> float:
        return sum(map(bool, scope.fired(texts))) / len(texts)

    assert share([edit.prompt for edit in edits]) == 1
    assert share([text for edit in edits for text in edit.generality]) > 0.85
    assert share([probe.prompt for edit in edits for probe in edit.heldout_locality]) < 0.15
    about = ("Tell me about {}.", "Write a short biography of {}.", "What do you know about {}?")
    requests = [text.format("Jimi Hendrix") for text in about]
    assert share(requests) == 0
    profiled = [*edits, *missing(edits, ["Jimi Hendrix"])]
    fired = Scope(profiled, RelationGate.of(learnt, embed, profiled)).fired(requests)
    assert [found[0].edit_ids for found in fired] == [(profiled[-1].id,)] * len(requests)
    others = ["I like the Eiffel Tower.", "The Eiffel Tower is tall.", "We met at Google."]
    assert share(others) == 0
    assert scope.fired(["We saw the Eiffel Tower. In which city is it?"])[0]


def test_two_prompts_for_one_relation_are_not_pushed_apart() -> None:
    embed, forms = Embedder(), ("{} works for", "{} is employed by", "The mother tongue of {} is")
    names = [f"Person {chr(65 + i // 26)}{chr(65 + i % 26)}" for i in range(150)]
    edits = [Edit(name, name, forms[i % 3].format(name), "x") for i, name in enumerate(names)]
    prompts, _ = training_prompts(edits, embed=embed)
    metric, exemplars = learn(embed, edits, prompts)
    scope = Scope(edits, RelationGate.of(GateState(metric, exemplars), embed, edits))
    for text in ("{} took a job at", "{} works for", "{} is employed by", "Who employs {}?"):
        fired = [bool(found) for found in scope.fired([text.format(name) for name in names])]
        assert fired == [i % 3 < 2 for i in range(150)], text


def test_the_demo_tells_its_story(real: Backbone, capsys: pytest.CaptureFixture) -> None:
    result = demo.run(real, limit=3, epochs=1, seed=0, quiet=False)
    assert result.scores.n == 3
    assert result.unrelated_identical
    assert result.undo_identical
    out = capsys.readouterr().out
    for part in ("Eiffel Tower", "before", "EP", "bit for bit", "lks edit facts.jsonl"):
        assert part in out


def test_the_demo_facts_are_well_formed() -> None:
    edits = facts()
    assert len(edits) >= 100
    for edit in edits:
        assert len(edit.paraphrases) == 2
        assert len(edit.generality) == 1
        assert (len(edit.training_locality), len(edit.heldout_locality)) == (1, 1)
        assert edit.ground_truth
        assert edit.ground_truth != edit.target
    trained = {p for e in edits for p in (e.prompt, *e.paraphrases, *e.training_locality)}
    assert not trained & {text for edit in edits for text in edit.generality}
