"""lm-evaluation-harness runs an edited model, on a task of the tests' own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import make_backbone, make_edits
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from lks.editors.registry import editor
from lks.editors.unedited import UneditedModel
from lks.evaluation.lm_eval import EditedLM, _at_white_space
from lks.model.engine.protocol import Generation


def request(kind: str, *arguments: object) -> Instance:
    return Instance(kind, {}, arguments, 0)


@pytest.fixture(scope="module")
def unedited() -> UneditedModel:
    return UneditedModel(make_backbone("llama"))


def test_requests_are_scored_as_the_model_scores(unedited: UneditedModel) -> None:
    lm, prompt = EditedLM(unedited), "Ada Lovelace was born in"
    (score,) = unedited.score([(prompt, "Oslo")])
    asked = [request("loglikelihood", prompt, " Oslo"), request("loglikelihood", "", prompt)]
    one, whole = lm.loglikelihood(asked)
    assert one == (pytest.approx(sum(score.logprobs)), all(score.matches))
    (rolling,) = lm.loglikelihood_rolling([request("loglikelihood_rolling", prompt)])
    assert rolling == pytest.approx(whole[0])
    backbone = unedited.backbone
    for text in (prompt, "\n" + prompt):  # behind nothing no space is added
        assert backbone.join("", text, chat=False)[0].text == text


def test_the_text_is_never_changed() -> None:
    for context, continuation in [
        ("a b", " c"),
        ("a b", "\nc"),
        ("a (", "b"),
        ("a ", "b"),
        ("a\n\n", " b"),
        ("", "x"),
    ]:
        prompt, target = _at_white_space(context, continuation)
        assert prompt + target == context + continuation
        assert not prompt or (target[0].isspace() and not prompt[-1].isspace())


def test_written_answers_end_before_a_stop(unedited: UneditedModel) -> None:
    prompt = "Where is it?"
    text = unedited.respond([prompt], max_new_tokens=6)[0].whole
    stop = text[len(text) // 2]
    settings = {"until": [stop], "max_gen_toks": 6}
    (cut,) = EditedLM(unedited).generate_until([request("generate_until", prompt, settings)])
    assert cut == text.split(stop)[0]


def test_a_stop_may_be_white_space_at_the_beginning() -> None:
    class Answering(UneditedModel):
        def respond(self, prompts: object, **settings: object) -> list[Generation]:
            return [Generation("\nRome\n", "stop")]

    lm = EditedLM(Answering(make_backbone("llama")))
    asked = request("generate_until", "Where?", {"until": "\n"})
    assert lm.generate_until([asked]) == [""]


def test_a_task_of_the_harness_sees_the_edit(tmp_path: Path) -> None:
    rows = [{"text": "Ada Lovelace was born in", "choices": ["Oslo", "London"], "gold": 0}] * 3
    data = tmp_path / "rows.json"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "born", "dataset_path": "json", "test_split": "test",
        "output_type": "multiple_choice",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path)},
        "doc_to_text": "{{text}}", "doc_to_choice": "{{choices}}", "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    backbone = make_backbone("llama")
    with editor("inject").apply(backbone, list(make_edits())[:1]) as model:
        found = simple_evaluate(
            EditedLM(model), tasks=[task], task_manager=TaskManager(include_defaults=False),
            bootstrap_iters=0, verbosity="ERROR",
        )  # fmt: skip
        pairs = [("Ada Lovelace was born in", city) for city in ("Oslo", "London")]
        oslo, london = (sum(score.logprobs) for score in model.score(pairs))
    assert found is not None
    assert found["n-samples"]["born"]["effective"] == 3
    assert found["results"]["born"]["acc,none"] == float(oslo > london)
