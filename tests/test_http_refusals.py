"""What the server refuses, and how it tells: by name, in one shape, in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from served import MODEL, Served, served

from lks.serving.http.server import Settings

ASKED = [{"role": "user", "content": "Where is it?"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def home() -> Iterator[Served]:
    settings = Settings(max_tokens=100, max_body=20_000)
    with served(settings=settings) as found:
        found.service.create_set(found.service.caller(None), "facts")
        yield found


def refused(home: Served, path: str, body: Any, status: int = 400) -> dict[str, Any]:
    """The error that an answer tells, which has OpenAI's shape."""
    answer = home.http.post(path, json=body)
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= told.keys()
    assert told["type"] == "invalid_request_error"
    assert "\n" not in told["message"]
    return told


NEEDLESS = [
    ("tools", [{"type": "function", "function": {"name": "f"}}]),
    ("tool_choice", "auto"),
    ("parallel_tool_calls", False),
    ("functions", [{"name": "f"}]),
    ("function_call", "auto"),
    ("response_format", {"type": "json_object"}),
    ("response_format", {"type": "json_schema", "json_schema": {}}),
    ("logit_bias", {"5": 100}),
    ("presence_penalty", 0.5),
    ("frequency_penalty", -1),
    ("modalities", ["text", "audio"]),
    ("audio", {"voice": "x"}),
    ("prediction", {"type": "content", "content": "x"}),
    ("reasoning_effort", "low"),
    ("service_tier", "flex"),
    ("store", True),
    ("web_search_options", {}),
]


@pytest.mark.parametrize(("field", "value"), NEEDLESS)
def test_what_is_not_supported_is_refused_by_name(home: Served, field: str, value: object) -> None:
    told = refused(home, CHAT, {"model": MODEL, "messages": ASKED, field: value})
    assert told["param"] == field and field in told["message"]
    assert told["code"] == "unsupported_parameter"
    assert not home.engine.seen


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        (CHAT, {"foo": 1}, "foo"),
        (CHAT, {"top_k": 5}, "top_k"),
        (CHAT, {"lks": {"base": True}}, "lks.base"),
        (CHAT, {"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
        (CHAT, {"messages": [{**ASKED[0], "weight": 1}]}, "messages[0].weight"),
        (TEXT, {"foo": 1}, "foo"),
        (TEXT, {"messages": ASKED}, "messages"),
        (TEXT, {"max_completion_tokens": 5}, "max_completion_tokens"),
    ],
)
def test_an_unknown_field_is_refused_by_name(
    home: Served, path: str, more: dict[str, Any], param: str
) -> None:
    body = {"model": MODEL, **({"messages": ASKED} if path == CHAT else {"prompt": "a"}), **more}
    told = refused(home, path, body)
    assert (told["param"], told["code"]) == (param, "unknown_parameter")


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        ({"messages": [*ASKED, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{**ASKED[0], "name": "me"}]}, "messages[0].name"),
        ({"messages": [{**ASKED[0], "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": 1.5}, "n"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop[0]"),
        ({"stop": 5}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 101}, "max_tokens"),
        ({"max_completion_tokens": 101}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"logprobs": 3}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"stream": "yes"}, "stream"),
        ({"model": 5}, "model"),
    ],
)  # fmt: skip
def test_a_wrong_value_in_a_chat_is_refused_by_name(
    home: Served, more: dict[str, Any], param: str
) -> None:
    told = refused(home, CHAT, {"model": MODEL, "messages": ASKED, **more})
    assert told["param"] == param
    assert told["message"].startswith(param)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": ["a", 5]}, "prompt[1]"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 10, "n": 13}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"best_of": 3}, "best_of"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"echo": "yes"}, "echo"),
    ],
)
def test_a_wrong_value_in_a_completion_is_refused_by_name(
    home: Served, more: dict[str, Any], param: str
) -> None:
    told = refused(home, TEXT, {"model": MODEL, "prompt": "a", **more})
    assert told["param"] == param


def test_all_that_is_wrong_is_told_at_once(home: Served) -> None:
    told = refused(home, CHAT, {"messages": [], "temperature": 5, "foo": 1})
    assert len(told["problems"]) == 4
    assert all(name in told["message"] for name in ("model", "messages", "temperature", "foo"))


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(home: Served) -> None:
    long = "é" * 200
    told = refused(home, CHAT, {"model": MODEL, "messages": [{"role": "user", "content": long}]})
    assert (told["code"], told["param"]) == ("context_length_exceeded", "messages")
    assert "256" in told["message"]
    read = len(home.backend.front.tokenizer(long).input_ids)
    told = refused(home, TEXT, {"model": MODEL, "prompt": long})
    assert f"{read} of the prompt" in told["message"]


def test_more_to_write_than_there_is_room_for_is_refused(home: Served) -> None:
    body = {"model": MODEL, "prompt": [9] * 200, "max_tokens": 57}
    told = refused(home, TEXT, body)
    assert told["code"] == "context_length_exceeded"
    assert "257: 200 of the prompt, 57 to write" in told["message"]
    assert home.http.post(TEXT, json={**body, "max_tokens": 56}).status_code == 200
    assert refused(home, TEXT, {"model": MODEL, "prompt": [9] * 256})["code"]
    scored = {"model": MODEL, "prompt": [9] * 256, "max_tokens": 0, "echo": True, "logprobs": 0}
    assert home.http.post(TEXT, json=scored).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "told"),
    [
        (b"{", "application/json", "not JSON"),
        (b"[]", "application/json", "must be a JSON object"),
        (b"5", "application/json", "must be a JSON object"),
        (b"", "application/json", "must be a JSON object"),
        (b"\xff", "application/json", "not JSON in UTF-8"),
        (b'{"model": "\xfc"}', "application/json", "byte 0xfc"),
        (b'{"model": "tiny"}', "text/plain", "content-type: application/json"),
        (b"[" * 5000, "application/json", "recursion depth"),
        (b'{"model": "\\ud800"}', "application/json", "model: has half a character"),
        (b'{"model": NaN}', "application/json", ""),
    ],
)
def test_a_body_that_is_none_is_told(home: Served, content: bytes, kind: str, told: str) -> None:
    answer = home.http.post(CHAT, content=content, headers={"content-type": kind})
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]


def test_text_with_half_a_character_is_refused(home: Served) -> None:
    body = '{"model": "tiny", "messages": [{"role": "user", "content": "\\ud83d"}]}'
    answer = home.http.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and "half a character" in answer.json()["error"]["message"]
    body = '{"model": "tiny", "prompt": ["\\ud83d"]}'
    answer = home.http.post(TEXT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    body = '{"model": "tiny", "prompt": "x", "\\ud83d": 1}'
    answer = home.http.post(TEXT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and "half a character" in answer.json()["error"]["message"]


def test_the_frameworks_own_errors_have_the_same_shape(home: Served) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/health", 405),
        ("GET", "/v1/lks/sets/", 404),
    ):
        answer = home.http.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert path in answer.json()["error"]["message"]
        if status == 405:
            assert answer.headers["allow"]


def test_a_long_body_is_refused_before_it_is_read(
    home: Served, caplog: pytest.LogCaptureFixture
) -> None:
    long = {"model": MODEL, "messages": [{"role": "user", "content": "a" * 30_000}]}
    told = refused(home, CHAT, long, 413)
    assert "20,000 bytes" in told["message"]

    def unknown_length() -> Iterator[bytes]:
        yield json.dumps(long).encode()

    kind = {"content-type": "application/json"}
    answer = home.http.post(CHAT, content=unknown_length(), headers=kind)
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_long"

    def megabytes() -> Iterator[bytes]:
        yield from [b" " * 2**20] * 17

    with caplog.at_level("ERROR"):
        answer = home.http.post("/v1/lks/sets/facts/edits", content=megabytes(), headers=kind)
    assert answer.status_code == 413 and not caplog.records
    facts = {"edits": [{"subject": "a", "prompt": "a", "target": "b" * 30_000}]}
    assert home.http.post("/v1/lks/sets/facts/edits", json=facts).status_code == 202


def test_an_error_of_ours_is_one_of_openais(home: Served) -> None:
    client = openai.OpenAI(base_url=f"{home.url}/v1", api_key="any", max_retries=0)
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=MODEL, messages=ASKED, temperature=9)
    assert (error.value.param, error.value.type) == ("temperature", "invalid_request_error")
    assert "temperature: must be less than or equal to 2" in error.value.message


def test_what_nobody_expected_is_a_500_that_tells_nothing() -> None:
    def broken(request: object) -> list[int]:
        raise RuntimeError("a secret")

    with served(broken) as home:
        answer = home.http.post(CHAT, json={"model": MODEL, "messages": ASKED})
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert "secret" not in answer.text
        assert home.http.get("/health").status_code == 200
