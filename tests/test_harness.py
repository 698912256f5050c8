"""lm-evaluation-harness runs an edited model, on a task of the tests' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_backbone, make_edits
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager
from test_http_model import OneSnapshot, serving
from test_threads import random_pack

from lks.editors.lks.model import ScalpelModel
from lks.editors.registry import editor
from lks.editors.unedited import UneditedModel
from lks.evaluation.lm_eval import EditedLM, _at_white_space
from lks.model.backbone import Backbone
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


def task(folder: Path, name: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    data = folder / f"{name}.json"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "task": name, "dataset_path": "json", "test_split": "test",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder)},
        "doc_to_text": "{{text}}", "doc_to_target": "gold", **more,
    }  # fmt: skip


def choosing(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    own = {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}"}
    return task(folder, "choosing", rows, **own, metric_list=[{"metric": "acc"}])


def writing(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    settings = {"until": ["."], "max_gen_toks": 8}
    own = {"output_type": "generate_until", "generation_kwargs": settings}
    return task(folder, "writing", rows, **own, metric_list=[{"metric": "exact_match"}])


def evaluated(lm: Any, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    found: Any = simple_evaluate(
        lm, tasks=tasks, task_manager=TaskManager(include_defaults=False), bootstrap_iters=0,
        verbosity="ERROR",
    )  # fmt: skip
    return dict(found)


def test_a_task_of_the_harness_sees_the_edit(tmp_path: Path) -> None:
    rows = [{"text": "Ada Lovelace was born in", "choices": ["Oslo", "London"], "gold": 0}] * 3
    backbone = make_backbone("llama")
    with editor("inject").apply(backbone, list(make_edits())[:1]) as model:
        found = evaluated(EditedLM(model), [choosing(tmp_path, rows)])
        pairs = [("Ada Lovelace was born in", city) for city in ("Oslo", "London")]
        oslo, london = (sum(score.logprobs) for score in model.score(pairs))
    assert found["n-samples"]["choosing"]["effective"] == 3
    assert found["results"]["choosing"]["acc,none"] == float(oslo > london)


def test_the_harness_finds_the_same_through_the_server(tmp_path: Path, model_folder: Path) -> None:
    """Its client of completions asks the server, and scores what comes."""
    rows = [
        {"text": edit.prompt, "choices": [edit.target, "Paris"], "gold": 0} for edit in make_edits()
    ]
    tasks = [choosing(tmp_path, rows), writing(tmp_path, rows)]
    backbone = Backbone.load(str(model_folder), device="cpu")
    model = ScalpelModel(backbone, random_pack(backbone))
    answers = []
    with serving(backbone, OneSnapshot(model)) as home:
        for name, own in (("tiny", UneditedModel(backbone)), ("tiny:facts", model)):
            client = LocalCompletionsAPI(
                base_url=f"{home.url}/v1/completions", model=name, tokenizer=str(model_folder),
                tokenizer_backend="huggingface", max_length=256,
            )  # fmt: skip
            here, there = evaluated(EditedLM(own), tasks), evaluated(client, tasks)
            pairs = zip(here["samples"]["choosing"], there["samples"]["choosing"], strict=True)
            for pair in pairs:
                ours, theirs = (row["filtered_resps"] for row in pair)
                assert [told[0] for told in theirs] == pytest.approx([t[0] for t in ours], abs=1e-4)
                assert [bool(told[1]) for told in theirs] == [bool(told[1]) for told in ours]
            written, also = (
                [row["filtered_resps"] for row in found["samples"]["writing"]]
                for found in (here, there)
            )
            assert written == also
            answers.append(written)
    assert answers[0] != answers[1], "edits fire"
