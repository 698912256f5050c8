"""The server with all that is behind it: the engine, the store, and a small random model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_backbone, make_edits
from engines import SMALL
from fake_service import FakeService
from served import Served, running
from stores import CONFIG, fact, opened, small_backbone
from test_threads import random_pack

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.errors import EditFileError
from lks.evaluation.checks import by_fact, check_facts
from lks.model.backbone import Backbone
from lks.serving.client import Client
from lks.serving.facts import State
from lks.serving.http.app import make_app
from lks.serving.http.choice import Around
from lks.serving.http.model_front import ModelFront, around_answers
from lks.serving.http.server import Backend, Server, Settings
from lks.serving.served_model import ServedModel
from lks.serving.service import Service, Snapshot
from lks.serving.transformers_engine import TransformersEngine
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

pytest_plugins = ("stores",)
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
PROMPTS = ["Where is the Eiffel Tower?", "Ada Lovelace was born in", "nothing at all", "Mount Fuji"]


@contextmanager
def serving(
    backbone: Backbone, service: Service, name: str = "tiny", **more: Any
) -> Iterator[Served]:
    engine = TransformersEngine(backbone, SMALL)
    engine.start()
    server = Server(Settings(), Backend(name, engine, ModelFront(backbone), service, **more))
    app = make_app(server)
    try:
        with running(app) as url:
            yield Served(app, server, url)
    finally:
        engine.close()
        server.close()


class OneSnapshot(FakeService):
    """The set `facts` has what is in force in a model."""

    def __init__(self, model: ScalpelModel) -> None:
        super().__init__()
        exact = model.pack.training.exact
        self.own = Snapshot("facts", 7, model.in_force, model.pack.layers, exact)

    def snapshot(self, who: object, set_name: str) -> Snapshot:
        return self.own


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return make_backbone("llama", chat=True)


@pytest.fixture(scope="module")
def model(backbone: Backbone) -> ScalpelModel:
    return ScalpelModel(backbone, random_pack(backbone))


@pytest.fixture(scope="module")
def home(backbone: Backbone, model: ScalpelModel) -> Iterator[Served]:
    with serving(backbone, OneSnapshot(model)) as found:
        yield found


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", ["tiny", "tiny:facts"])
def test_the_server_writes_what_the_model_writes(
    home: Served, model: ScalpelModel, prompt: str, name: str
) -> None:
    whose = model if name.endswith("facts") else UneditedModel(model.backbone)
    asked = {"model": name, "temperature": 0, "max_tokens": 12}
    (plain,) = whose.respond([prompt], max_new_tokens=12)
    told = home.http.post(TEXT, json={**asked, "prompt": prompt}).json()
    assert told["choices"][0]["text"] == plain.whole
    assert told["choices"][0]["finish_reason"] == plain.finish_reason
    assert list(dict.fromkeys(f["edit"] for f in told["lks"]["fired"])) == list(plain.fired)
    (chat,) = whose.respond([prompt], chat=True, max_new_tokens=12)
    turns = [{"role": "user", "content": prompt}]
    told = home.http.post(CHAT, json={**asked, "messages": turns}).json()
    assert told["choices"][0]["message"]["content"] == chat.whole
    assert list(dict.fromkeys(f["edit"] for f in told["lks"]["fired"])) == list(chat.fired)


def test_edits_fire_in_messages_and_are_told_where(home: Served) -> None:
    turns = [
        {"role": "system", "content": "Be short about Mount Fuji."},
        {"role": "user", "content": "  Where is Ada Lovelace?  "},
    ]
    own = home.http.post(CHAT, json={"model": "tiny:facts", "messages": turns}).json()["lks"]
    for fired in own["fired"]:
        content = turns[fired["message"]]["content"]
        start, end = fired["span"]
        assert content[start:end] == fired["text"] == fired["subject"]
    assert {f["message"] for f in own["fired"]} == {0, 1}
    assert (own["set"], own["version"]) == ("facts", 7)


def test_a_prompt_in_tokens_is_the_prompt_in_text(home: Served, backbone: Backbone) -> None:
    ids, _ = backbone.tokenize("Where is the Eiffel Tower?", chat=False)
    asked = {"model": "tiny:facts", "temperature": 0, "max_tokens": 8, "echo": True}
    told = [
        home.http.post(TEXT, json={**asked, "prompt": prompt}).json()
        for prompt in (ids, "Where is the Eiffel Tower?")
    ]
    assert told[0]["choices"] == told[1]["choices"]
    assert told[0]["lks"]["fired"] == told[1]["lks"]["fired"] != []
    bad = home.http.post(TEXT, json={**asked, "prompt": [10**6]})
    assert bad.status_code == 400 and "no token 1000000" in bad.json()["error"]["message"]


@pytest.mark.parametrize("name", ["tiny", "tiny:facts"])
def test_a_prompt_is_scored_as_the_model_scores_it(
    home: Served, model: ScalpelModel, name: str
) -> None:
    prompt, target = "The Eiffel Tower is located in the city of", "Rome"
    whose = model if name.endswith("facts") else UneditedModel(model.backbone)
    (expected,) = whose.score([(prompt, target)])
    asked = {"model": name, "prompt": f"{prompt} {target}", "echo": True, "max_tokens": 0}
    own = home.http.post(TEXT, json={**asked, "logprobs": 1}).json()["choices"][0]["logprobs"]
    n = len(expected.tokens)
    assert own["token_logprobs"][-n:] == pytest.approx(expected.logprobs, abs=1e-3)
    greedy = [max(top, key=top.__getitem__) for top in own["top_logprobs"][-n:]]
    assert [g == t for g, t in zip(greedy, own["tokens"][-n:], strict=True)] == list(
        expected.matches
    )


def test_a_seed_gives_the_same_text_again(home: Served) -> None:
    asked = {"model": "tiny", "prompt": "So", "temperature": 1.5, "max_tokens": 20}
    found = [
        home.http.post(TEXT, json={**asked, "seed": seed}).json()["choices"][0]["text"]
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


def test_special_tokens_that_a_tokenizer_adds_are_no_part_of_a_prompt() -> None:
    backbone = make_backbone("llama", bos=True)
    with serving(backbone, FakeService()) as home:
        body = {"model": "tiny", "prompt": "So big", "echo": True, "logprobs": 0, "max_tokens": 0}
        own = home.http.post(TEXT, json=body).json()
        scores = own["choices"][0]["logprobs"]
        assert "".join(scores["tokens"]) == "So big" and scores["text_offset"][0] == 0
        assert None not in scores["token_logprobs"], "the first one stands behind another"
        assert own["usage"]["prompt_tokens"] == len(scores["tokens"]) + 1
        chat = {"model": "tiny", "messages": [{"role": "user", "content": "a"}]}
        told = home.http.post(CHAT, json=chat)
        assert told.status_code == 400 and "no chat template" in told.json()["error"]["message"]


# --- what a chat template has around answers


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
         "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}", Around()),
        ("{% for m in messages %}{% if m.role == 'user' %}[I]{{ m.content }}[/I]{% else %}"
         " {{ m.content | trim }} <|eos|>{% endif %}{% endfor %}", Around(" ", " ", True)),
        ("{% for m in messages %}<|start|>{{ m.role }}\n\n{{ m.content | trim }}<|end|>"
         "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n\n{% endif %}",
         Around(strips=True)),
        ("{% for m in messages %}<|start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>\n"
         "</think>\n{% endif %}{{ m.content }}\n<|end|>{% endfor %}"
         "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}", Around("", "\n")),
        (None, Around()),
        ("{{ messages[0].content }}", Around()),
    ],
)  # fmt: skip
def test_what_a_template_has_around_an_answer(template: str | None, expected: Around) -> None:
    tokenizer = make_backbone("llama", chat=True).tokenizer
    tokenizer.chat_template = template
    assert around_answers(tokenizer) == expected


# --- dry runs


@pytest.fixture
def gated(embedder_folder: Path) -> ScalpelModel:
    """With a relation gate, which knows little."""
    backbone = make_backbone("llama", chat=True)
    config = TrainingConfig(
        layer=1, epochs=2, batch_size=2, precision="float32", embedder=str(embedder_folder)
    )
    return ScalpelModel(backbone, train_pack(backbone, make_edits(), config))


def test_a_dry_run_tells_what_fires_and_what_nearly_does(gated: ScalpelModel) -> None:
    front = ModelFront(gated.backbone)
    snapshot = Snapshot("facts", 1, gated.in_force, [1], True)
    texts = ["Where is the Eiffel Tower?", "Who built the Eiffel Tower?", "the Eifel Tower"]
    told = front.dry_run(texts, snapshot)
    assert [spot.edit for spot in told[0][0]] == ["eiffel"]
    assert told[0][0][0].score is not None
    assert [*told[1][0]] == []
    found = gated.in_force.scope.examine(texts)
    for (fired, _), findings in zip(told, found, strict=True):
        expected = [d.edit_id for f in findings for d in f.decisions if d.fired]
        assert [spot.edit for spot in fired] == expected


def test_a_dry_run_with_more_edits_is_as_if_they_were_added(gated: ScalpelModel) -> None:
    front = ModelFront(gated.backbone)
    snapshot = Snapshot("facts", 1, gated.in_force, [1], True)
    new = Edit("oslo", "Oslo", "Oslo is in", "Peru", paraphrases=("Where is Oslo?",))
    texts = ["Where is Oslo?", "How high is Oslo?", "Where is the Eiffel Tower?"]
    told = front.dry_run(texts, snapshot, [new])
    assert [[*fired] for fired, _ in front.dry_run(texts[:1], snapshot)] == [[]]
    gated.add([new], refine=False)
    expected = [
        [d.edit_id for f in found for d in f.decisions if d.fired]
        for found in gated.in_force.scope.examine(texts)
    ]
    assert [[spot.edit for spot in fired] for fired, _ in told] == expected
    assert expected[0] == ["oslo"]
    with pytest.raises(EditFileError, match="would never fire"):
        front.dry_run(texts, snapshot, [Edit("bad", "Oslo", "It is in Oslos", "Peru")])


def test_a_dry_run_in_an_empty_set_has_the_new_edits_only(backbone: Backbone) -> None:
    service = FakeService()
    who = service.caller(None)
    assert who is not None
    service.create_set(who, "facts")
    told = ModelFront(backbone).dry_run(
        ["Where is Mount Fuji?", "Where is Oslo?"], service.snapshot(who, "facts"),
        list(make_edits()),
    )  # fmt: skip
    assert [[spot.edit for spot in fired] for fired, _ in told][1] == []


# --- what is served is tested


def test_a_served_set_answers_as_the_model_and_passes_the_same_checks(
    home: Served, backbone: Backbone, model: ScalpelModel
) -> None:
    snapshot = home.service.own
    asked = (ServedModel(backbone, home.engine, whose) for whose in (None, snapshot))
    base, edited = asked
    for chat in (False, True):
        own = edited.respond(PROMPTS, chat=chat, max_new_tokens=8)
        assert own == model.respond(PROMPTS, chat=chat, max_new_tokens=8)
        assert [one.fired for one in own] == [
            one.fired for one in model.respond(PROMPTS, chat=chat, max_new_tokens=8)
        ]
    assert edited.triggered(PROMPTS) == model.triggered(PROMPTS)
    edits = list(make_edits())
    found = check_facts(base, edited, edits, lambda edit: 8, chat=True)
    expected = check_facts(UneditedModel(backbone), model, edits, lambda edit: 8, chat=True)
    assert found == expected and found


# --- the whole of it


def test_the_life_of_a_fact(tmp_path: Path, learnable: None) -> None:
    """Added by the client, learnt, asked, taken out and brought back, over a store on disk."""
    torch.manual_seed(0)
    backbone = small_backbone()

    def checks(snapshot: Snapshot, edits: list[Edit]) -> list[dict[str, object]]:
        engine = home.engine
        asked = (ServedModel(backbone, engine, whose) for whose in (None, snapshot))
        return [f.to_json() for f in by_fact(check_facts(*asked, edits, lambda e: 4))]

    with (
        opened(tmp_path, backbone, config=CONFIG) as service,
        serving(backbone, service, test=checks) as home,
        Client(home.url) as client,
    ):
        client.create_set("office")
        job = client.add("office", [fact(1), fact(2)], reason="new", tags=["people"])
        assert client.wait(job).version == 1
        ask = {"model": "tiny:office", "prompt": fact(1).prompt, "temperature": 0, "logprobs": 0}
        told = home.http.post(TEXT, json=ask)
        assert told.headers["x-lks-fired"] == "f1"
        edited = told.json()
        assert edited["lks"]["version"] == 1 and edited["lks"]["set"] == "office"
        plain = home.http.post(TEXT, json={**ask, "model": "tiny"}).json()
        assert edited["choices"] != plain["choices"]
        assert client.fact("office", "f1").tags == ("people",)
        assert client.facts("office", states=[State.IN_FORCE]).total == 2
        (tested,) = client.test("office", ["f1"])
        assert tested["checks"][0]["fired"] == ["f1"]
        assert client.retire("office", ["f1"], reason="left") == 2
        out = home.http.post(TEXT, json=ask).json()
        assert out["choices"] == plain["choices"] and out["lks"]["fired"] == []
        assert client.rollback("office", 1) == 3
        again = home.http.post(TEXT, json=ask).json()
        assert again["choices"] == edited["choices"]
        assert [c.action for c in client.history("office")][:3] == ["rollback", "retire", "add"]
        own = {**fact(3).to_record(), "tags": ["own"]}
        client.wait(client.add("office", [own, fact(4)], tags=["usual"]))
        assert client.fact("office", "f3").tags == ("own",)
        assert client.fact("office", "f4").tags == ("usual",)
        hits = home.http.get("/v1/lks/sets/office/edits/f1").json()["hits"]
        assert hits == 2, "of the two answers that it fired in"


def test_facts_change_while_many_ask(tmp_path: Path, learnable: None) -> None:
    """Each answer of the real store and engine is of one version."""
    from threading import Thread

    backbone = small_backbone()
    with (
        opened(tmp_path, backbone) as service,
        serving(backbone, service) as home,
        Client(home.url) as client,
    ):
        client.create_set("office")
        client.wait(client.add("office", [fact(1), fact(2)]))
        both = f"{fact(1).subject} and {fact(2).subject}"
        answers: list[dict[str, Any]] = []
        until = time.monotonic() + 60

        def going_on() -> bool:
            return len({own["version"] for own in [*answers]}) < 6 and time.monotonic() < until

        def ask() -> None:
            body = {"model": "tiny:office", "prompt": both, "max_tokens": 2}
            while going_on():
                answers.append(home.http.post(TEXT, json=body).json()["lks"])

        threads = [Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        while going_on():
            client.retire("office", ["f1", "f2"])
            client.rollback("office", 1)
        for thread in threads:
            thread.join()
        for own in answers:
            there = own["version"] % 2 == 1  # each even version has none of them
            assert [f["edit"] for f in own["fired"]] == (["f1", "f2"] if there else [])
        assert len({own["version"] for own in answers}) > 3
