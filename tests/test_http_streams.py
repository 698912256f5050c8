"""Answers that come as they are written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from conftest import make_edits
from served import MODEL, Served, served

from lks.serving.http.server import Settings

SAID = " Paris 😀 is 塔 big."
ASKED = [{"role": "user", "content": "Where is the Eiffel Tower?"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def home() -> Iterator[Served]:
    with served(SAID) as found:
        who = found.service.caller(None)
        found.service.create_set(who, "facts")
        found.service.add(who, "facts", list(make_edits()))
        yield found


@pytest.fixture(scope="module")
def client(home: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{home.url}/v1", api_key="any", max_retries=0)


def chat(home: Served, **more: Any) -> dict[str, Any]:
    return {"model": f"{MODEL}:facts", "messages": ASKED, "stream": True, **more}


def events(home: Served, path: str, body: dict[str, Any]) -> list[str]:
    """The data of the events, as they stand there."""
    with home.http.stream("POST", path, json=body) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        text = answer.read().decode()
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


def test_the_role_comes_first_and_done_comes_last(home: Served) -> None:
    *chunks, done = events(home, CHAT, chat(home))
    assert done == "[DONE]"
    first, *others = map(json.loads, chunks)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert first["object"] == "chat.completion.chunk"
    assert len({chunk["id"] for chunk in (first, *others)}) == 1
    assert [c["choices"][0]["finish_reason"] for c in others] == [None] * (len(others) - 1) + [
        "stop"
    ]


def test_the_stream_is_the_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=ASKED)
    with client.chat.completions.create(model=MODEL, messages=ASKED, stream=True) as stream:
        parts = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(parts) == whole.choices[0].message.content == SAID
    assert not any("\ufffd" in part for part in parts)
    assert len(parts) > 5


def test_what_fired_is_told_at_the_beginning_and_with_the_end(home: Served) -> None:
    with home.http.stream("POST", CHAT, json=chat(home)) as answer:
        assert answer.headers["x-lks-fired"] == "eiffel"
        assert answer.headers["x-lks-version"] == "1"
        answer.read()
    chunks = [json.loads(data) for data in events(home, CHAT, chat(home))[:-1]]
    assert [("lks" in chunk) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["lks"]["fired"][0]["edit"] == "eiffel"
    assert chunks[-1]["lks"]["version"] == 1


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_usage_comes_last_if_it_is_asked_for(home: Served, path: str) -> None:
    body = chat(home) if path == CHAT else {"model": MODEL, "prompt": "So", "stream": True}
    plain = [json.loads(data) for data in events(home, path, body)[:-1]]
    assert all("usage" not in chunk for chunk in plain)
    body |= {"stream_options": {"include_usage": True}}
    *chunks, last = [json.loads(data) for data in events(home, path, body)[:-1]]
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    assert last["choices"] == []
    whole = home.http.post(
        path, json={k: v for k, v in body.items() if not k.startswith("stream")}
    ).json()
    assert last["usage"] == whole["usage"]


def test_choices_are_mixed_and_each_ends(client: openai.OpenAI) -> None:
    texts, ends = ["", "", ""], [0, 0, 0]
    for chunk in client.chat.completions.create(model=MODEL, messages=ASKED, stream=True, n=3):
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        ends[choice.index] += choice.finish_reason == "stop"
    assert (texts, ends) == ([SAID] * 3, [1, 1, 1])


def test_logprobs_come_with_their_text(client: openai.OpenAI) -> None:
    asked = {"model": MODEL, "messages": ASKED, "logprobs": True, "top_logprobs": 1}
    whole = client.chat.completions.create(**asked).choices[0].logprobs.content
    own = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        if chunk.choices[0].logprobs:
            own += chunk.choices[0].logprobs.content
    assert [token.token for token in own] == [token.token for token in whole]


def test_a_streamed_completion_is_the_completion(client: openai.OpenAI) -> None:
    asked = {"model": MODEL, "prompt": ["So", "Then"], "echo": True, "logprobs": 0}
    whole = client.completions.create(**asked)
    texts, tokens, offsets = ["", ""], [[], []], [[], []]
    for chunk in client.completions.create(**asked, stream=True):
        (choice,) = chunk.choices
        texts[choice.index] += choice.text
        tokens[choice.index] += choice.logprobs.tokens
        offsets[choice.index] += choice.logprobs.text_offset
    assert texts == [choice.text for choice in whole.choices]
    assert tokens == [choice.logprobs.tokens for choice in whole.choices]
    assert offsets == [choice.logprobs.text_offset for choice in whole.choices]


def test_a_stream_that_writes_nothing_ends(home: Served) -> None:
    body = {"model": MODEL, "prompt": ["So", "Now"], "stream": True, "max_tokens": 0, "echo": True}
    chunks = [json.loads(data) for data in events(home, TEXT, body)[:-1]]
    assert [(c["choices"][0]["text"], c["choices"][0]["finish_reason"]) for c in chunks] == [
        ("So", "length"), ("Now", "length"),
    ]  # fmt: skip


def test_nothing_of_a_stop_string_is_streamed(client: openai.OpenAI) -> None:
    parts, reasons = [], []
    asked = {"model": MODEL, "messages": ASKED, "stream": True, "stop": ["塔 b"]}
    for chunk in client.chat.completions.create(**asked):
        parts.append(chunk.choices[0].delta.content or "")
        reasons.append(chunk.choices[0].finish_reason)
    assert "".join(parts) == SAID[: SAID.index("塔 b")]
    assert reasons[-1] == "stop"


def test_a_wrong_request_is_refused_before_the_stream_begins(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=ASKED, stream=True)
    with pytest.raises(openai.BadRequestError, match="stream_options"):
        client.chat.completions.create(
            model=MODEL, messages=ASKED, stream_options={"include_usage": True}
        )


# --- what goes wrong on the way


def test_an_error_in_mid_stream_is_an_event(home: Served) -> None:
    with served(SAID, fails_at=3) as broken:
        own = openai.OpenAI(base_url=f"{broken.url}/v1", api_key="any", max_retries=0)
        parts = []
        with pytest.raises(openai.APIError, match="could not go on") as error:
            for chunk in own.chat.completions.create(model=MODEL, messages=ASKED, stream=True):
                parts.append(chunk.choices[0].delta.content or "")
        assert "".join(parts) and SAID.startswith("".join(parts))
        assert error.value.body["type"] == "server_error"
        body = {"model": MODEL, "messages": ASKED, "stream": True}
        *_, last = events(broken, CHAT, body)
        assert json.loads(last)["error"]["code"] == "engine"
        with pytest.raises(openai.InternalServerError, match="could not go on"):
            own.chat.completions.create(model=MODEL, messages=ASKED, n=2)
        with pytest.raises(openai.InternalServerError, match="could not go on"):
            own.completions.create(model=MODEL, prompt="So")
        assert broken.idle()


def endless(request: object) -> list[int]:
    return [34] * 100_000


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("n", [1, 3])
def test_a_client_that_goes_away_stops_the_engine(path: str, stream: bool, n: int) -> None:
    """A hundred thousand tokens were asked for, of which hardly any are written."""
    settings = Settings(max_tokens=100_000)
    with served(endless, context=None, pause=0.002, settings=settings) as home:
        body = {"model": MODEL, "stream": stream, "n": n, "max_tokens": 100_000}
        body |= {"messages": ASKED} if path == CHAT else {"prompt": "So"}

        async def leave() -> None:
            async with httpx.AsyncClient(base_url=home.url) as client:
                if stream:
                    async with client.stream("POST", path, json=body) as answer:
                        async for line in answer.aiter_lines():
                            if '"content":"' in line and '"content":""' not in line:
                                return  # the first words are there
                            if '"text":"' in line:
                                return
                asked = asyncio.ensure_future(client.post(path, json=body))
                while home.engine.load.running < n:
                    await asyncio.sleep(0.01)
                asked.cancel()

        asyncio.run(leave())
        assert home.idle(), home.engine.load
        assert home.engine.cancelled == n
        told = home.server.traffic.told("local")
        assert told["requests"] == 1 and told["tokens"] < 10_000


def test_a_client_that_waits_in_the_queue_and_goes_away_leaves_it() -> None:
    with served(endless, context=None, pause=0.002, slots=1) as home:
        body = {"model": MODEL, "messages": ASKED}

        async def leave() -> None:
            async with httpx.AsyncClient(base_url=home.url) as client:
                asked = [asyncio.ensure_future(client.post(CHAT, json=body)) for _ in range(5)]
                while home.engine.load.waiting < 4:
                    await asyncio.sleep(0.01)
                for one in asked:
                    one.cancel()

        asyncio.run(leave())
        assert home.idle(), home.engine.load


def test_a_server_that_ends_ends_its_streams() -> None:
    with served(endless, context=None, pause=0.01) as home:
        with home.http.stream("POST", CHAT, json={**chat(home), "model": MODEL}) as answer:
            lines = answer.iter_lines()
            next(lines)
            home.engine.close()
            assert any("could not go on" in line for line in lines)
        for path in ("/ready", "/v1/models"):
            told = home.http.get(path)
            assert told.status_code == 503 and told.json()["error"]["code"] == "stopped"
        assert home.http.get("/health").status_code == 200
