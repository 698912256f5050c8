"""The server as OpenAI's own client sees it: chats, completions, models, log-probabilities."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import openai
import pytest
from conftest import make_edits
from served import MODEL, Served, served

from lks.serving.http.answering import LONGEST_HEADER, fired_header
from lks.serving.protocol import EngineRequest

SAID = " Paris is big.\n"
ASKED = [{"role": "user", "content": "Where is the Eiffel Tower?"}]


@pytest.fixture(scope="module")
def home() -> Iterator[Served]:
    """A server with the set `facts`, in which four edits are in force."""
    with served(SAID) as found:
        who = found.service.caller(None)
        found.service.create_set(who, "facts")
        found.service.create_set(who, "default")
        found.service.add(who, "facts", list(make_edits()))
        yield found


@pytest.fixture(scope="module")
def client(home: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{home.url}/v1", api_key="any", max_retries=0)


def last(home: Served) -> EngineRequest:
    return home.engine.seen[-1]


def test_a_header_of_many_ids_is_cut_between_two() -> None:
    ids = [f"fact-{number}" for number in range(1000)]
    told = fired_header(ids).split(",")
    assert told[-1] == "..." and told[:-1] == ids[: len(told) - 1]
    assert LONGEST_HEADER - 10 < len(",".join(told[:-1])) <= LONGEST_HEADER
    assert fired_header(ids[:3]) == "fact-0,fact-1,fact-2" and fired_header([]) == ""


# --- models


def test_models_are_the_unedited_one_and_one_for_each_set(client: openai.OpenAI) -> None:
    found = client.models.list().data
    assert [m.id for m in found] == [MODEL, f"{MODEL}:facts", f"{MODEL}:default"]
    assert {m.owned_by for m in found} == {"lks"}
    assert client.models.retrieve(f"{MODEL}:facts").id == f"{MODEL}:facts"


@pytest.mark.parametrize("name", ["other", f"{MODEL}:nothing", f"{MODEL}:", "", "tin", f"x{MODEL}"])
def test_another_model_is_not_found(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model=name, messages=ASKED)
    assert error.value.type == "invalid_request_error"
    if name != f"{MODEL}:nothing":
        assert (error.value.code, error.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(name or "-")


@pytest.mark.parametrize(
    ("model", "set_name"),
    [(MODEL, None), (f"{MODEL}:facts", "facts"), ("default", "default"),
     (f"{MODEL}:default", "default")],
)  # fmt: skip
def test_the_model_says_which_set_is_asked(
    client: openai.OpenAI, model: str, set_name: str | None
) -> None:
    answer = client.chat.completions.create(model=model, messages=ASKED)
    version = {None: None, "facts": 1, "default": 0}[set_name]
    assert (answer.lks["set"], answer.lks["version"]) == (set_name, version)
    assert answer.model == (f"{MODEL}:{set_name}" if set_name else MODEL)
    own = f"-{set_name}-{version}" if set_name else ""
    assert answer.system_fingerprint == f"lks-abc{own}"


# --- chats


def test_a_chat_is_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED)
    (choice,) = answer.choices
    assert choice.message.content == SAID
    assert (choice.message.role, choice.finish_reason, choice.index) == ("assistant", "stop", 0)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_usage_counts_what_was_read_and_written(client: openai.OpenAI, home: Served) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED)
    front = home.backend.front
    written = len(front.tokenizer(SAID, add_special_tokens=False).input_ids)
    assert answer.usage.completion_tokens == written + 1, "and the token that ended it"
    assert answer.usage.prompt_tokens == len(last(home).ids)


def test_what_fired_is_told_in_the_answer_and_in_the_header(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=f"{MODEL}:facts",
        messages=[
            {"role": "system", "content": "You know the Eiffel Tower."},
            {"role": "user", "content": "Where is Ada Lovelace?"},
        ],
    )
    fired = raw.parse().lks["fired"]
    assert [(f["edit"], f["message"], f["span"], f["text"]) for f in fired] == [
        ("eiffel", 0, [13, 25], "Eiffel Tower"),
        ("ada-born", 1, [9, 21], "Ada Lovelace"),
        ("ada-tongue", 1, [9, 21], "Ada Lovelace"),
    ]
    assert {f["subject"] for f in fired} == {"Eiffel Tower", "Ada Lovelace"}
    assert raw.headers["x-lks-fired"] == "eiffel,ada-born,ada-tongue"
    assert (raw.headers["x-lks-set"], raw.headers["x-lks-version"]) == ("facts", "1")


def test_what_nearly_fired_is_told_with_the_reason(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=f"{MODEL}:facts", messages=[{"role": "user", "content": "See Mount Fuji!"}]
    )
    own = raw.parse().lks
    assert own["fired"] == [] and raw.headers["x-lks-fired"] == ""
    (near,) = own["near"]
    assert (near["edit"], near["reason"], near["span"]) == ("fuji", "below_threshold", [4, 14])


def test_the_unedited_model_fires_nothing(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED)
    assert answer.lks == {"set": None, "version": None, "fired": [], "near": []}


def test_the_baseline_of_a_set_is_the_unedited_model(client: openai.OpenAI) -> None:
    asked = {"model": f"{MODEL}:facts", "messages": ASKED}
    assert client.chat.completions.create(**asked).lks["fired"]
    before = client.chat.completions.create(**asked, extra_body={"lks": {"baseline": True}})
    assert (before.lks["set"], before.lks["fired"], before.model) == (None, [], MODEL)


def test_content_may_be_a_list_of_text_parts(client: openai.OpenAI, home: Served) -> None:
    client.chat.completions.create(model=MODEL, messages=ASKED)
    whole = last(home).ids
    parts = [{"type": "text", "text": "Where is "}, {"type": "text", "text": "the Eiffel Tower?"}]
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])
    assert last(home).ids == whole


def test_a_developer_is_the_system(client: openai.OpenAI, home: Served) -> None:
    found = []
    for role in ("system", "developer"):
        turns = [{"role": role, "content": "Be short."}, *ASKED]
        client.chat.completions.create(model=MODEL, messages=turns)
        found.append(last(home).ids)
    assert found[0] == found[1]


def test_an_answer_can_be_sent_back_as_it_came(client: openai.OpenAI, home: Served) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED)
    own = answer.choices[0].message.model_dump()
    turns = [*ASKED, own, {"role": "user", "content": "Really?"}]
    assert client.chat.completions.create(model=MODEL, messages=turns).choices
    text = home.backend.front.tokenizer.decode(last(home).ids)
    assert SAID in text and "Really?" in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1.0, 1.0, None)),
        ({"temperature": 0}, (0.0, 1.0, None)),
        ({"temperature": 2, "top_p": 0.5}, (2.0, 0.5, None)),
        ({"top_p": 0}, (0.0, 1.0, None)),
        ({"seed": 7}, (1.0, 1.0, 7)),
        ({"temperature": None, "seed": None}, (1.0, 1.0, None)),
    ],
)
def test_sampling_reaches_the_engine(
    client: openai.OpenAI, home: Served, given: dict[str, object], expected: tuple[object, ...]
) -> None:
    client.chat.completions.create(model=MODEL, messages=ASKED, **given)
    sampling = last(home).sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == expected


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_limit_ends_a_text(client: openai.OpenAI, name: str) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED, **{name: 2})
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == " Paris"
    assert answer.usage.completion_tokens == 2


def test_without_a_limit_there_is_as_much_as_the_context_leaves(
    client: openai.OpenAI, home: Served
) -> None:
    client.chat.completions.create(model=MODEL, messages=ASKED)
    assert last(home).sampling.max_tokens == home.engine.context - len(last(home).ids)


def test_several_choices_have_their_own_seeds(client: openai.OpenAI, home: Served) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED, n=3, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {SAID}
    assert sorted(r.sampling.seed for r in home.engine.seen[-3:]) == [5, 6, 7]
    assert answer.usage.completion_tokens % 3 == 0


@pytest.mark.parametrize("stop", ["is", ["zzz", " is"], ["s is b"]])
def test_a_stop_string_ends_a_text(client: openai.OpenAI, stop: str | list[str]) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED, stop=stop)
    text = answer.choices[0].message.content
    first = [stop] if isinstance(stop, str) else stop
    assert text == SAID[: min(SAID.find(s) for s in first if s in SAID)]
    assert answer.choices[0].finish_reason == "stop"


def test_after_a_stop_string_the_engine_is_idle(client: openai.OpenAI) -> None:
    with served(lambda request: [34] * 100_000, context=None) as home:
        own = openai.OpenAI(base_url=f"{home.url}/v1", api_key="any", max_retries=0)
        word = home.backend.front.vocabulary.text([34] * 5)
        answer = own.chat.completions.create(model=MODEL, messages=ASKED, stop=word)
        assert answer.choices[0].message.content == ""
        assert answer.usage.completion_tokens == 5
        assert home.idle() and home.engine.cancelled == 1


def test_logprobs_of_a_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=ASKED, logprobs=True, top_logprobs=2
    )
    content = answer.choices[0].logprobs.content
    assert "".join(token.token for token in content) == SAID
    assert b"".join(bytes(token.bytes) for token in content) == SAID.encode()
    assert {token.logprob for token in content} == {-0.25}
    assert [len(token.top_logprobs) for token in content] == [2] * len(content)
    assert content[0].top_logprobs[0].token == content[0].token
    none = client.chat.completions.create(model=MODEL, messages=ASKED)
    assert none.choices[0].logprobs is None
    own = client.chat.completions.create(model=MODEL, messages=ASKED, logprobs=True)
    assert own.choices[0].logprobs.content[0].top_logprobs == []


def test_fields_that_only_say_who_asks_are_taken(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=ASKED, user="me", metadata={"a": "b"}, store=False,
        response_format={"type": "text"}, presence_penalty=0, frequency_penalty=0.0,
    )  # fmt: skip
    assert answer.choices[0].message.content == SAID


# --- completions


def test_a_text_is_gone_on_with(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="The capital is")
    (choice,) = answer.choices
    assert choice.text == SAID, "with the space that it begins with"
    assert choice.finish_reason == "stop" and choice.logprobs is None
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-")


def test_sixteen_tokens_are_written_if_nothing_is_said(client: openai.OpenAI, home: Served) -> None:
    client.completions.create(model=MODEL, prompt="a")
    assert last(home).sampling.max_tokens == 16
    client.completions.create(model=MODEL, prompt=[9] * (home.engine.context - 3))
    assert last(home).sampling.max_tokens == 3, "fewer where there is no more room"


def test_several_prompts_come_back_in_order(client: openai.OpenAI, home: Served) -> None:
    prompts = ["Eiffel Tower", "Mount Fuji is", "nothing"]
    answer = client.completions.create(
        model=f"{MODEL}:facts", prompt=prompts, n=2, echo=True, max_tokens=1
    )
    assert [c.index for c in answer.choices] == list(range(6))
    assert [c.text for c in answer.choices] == [p + " Pa" for p in prompts for _ in range(2)]
    found = [(f["edit"], f["choice"]) for f in answer.lks["fired"]]
    assert found == [("eiffel", 0), ("eiffel", 1), ("fuji", 2), ("fuji", 3)]


def test_prompts_may_be_token_ids(client: openai.OpenAI, home: Served) -> None:
    ids = home.backend.front.tokenizer("Mount Fuji is").input_ids
    answer = client.completions.create(model=f"{MODEL}:facts", prompt=ids, echo=True)
    assert answer.choices[0].text == f"Mount Fuji is{SAID}"
    assert list(last(home).ids) == ids
    assert answer.lks["fired"][0]["edit"] == "fuji"
    several = client.completions.create(model=MODEL, prompt=[ids, ids[:2]])
    assert len(several.choices) == 2


def test_best_of_as_many_as_n_is_taken(client: openai.OpenAI) -> None:
    assert len(client.completions.create(model=MODEL, prompt="a", n=2, best_of=2).choices) == 2


def test_logprobs_of_a_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="So", logprobs=2)
    own = answer.choices[0].logprobs
    assert "".join(own.tokens) == answer.choices[0].text == SAID
    assert own.token_logprobs == [-0.25] * len(own.tokens)
    for token, offset in zip(own.tokens, own.text_offset, strict=True):
        assert SAID[offset : offset + len(token)] == token
    assert all(len(top) in (2, 3) for top in own.top_logprobs)
    none = client.completions.create(model=MODEL, prompt="So", logprobs=0)
    assert none.choices[0].logprobs.top_logprobs[0] == {none.choices[0].logprobs.tokens[0]: -0.25}


def test_a_prompt_is_scored_and_nothing_written(client: openai.OpenAI, home: Served) -> None:
    asked = len(home.engine.seen)
    answer = client.completions.create(
        model=f"{MODEL}:facts", prompt="Mount Fuji is in Peru", echo=True, logprobs=1, max_tokens=0
    )
    (choice,) = answer.choices
    own = choice.logprobs
    assert choice.text == "".join(own.tokens) == "Mount Fuji is in Peru"
    assert own.token_logprobs == [None, *(-0.5 * n for n in range(1, len(own.tokens)))]
    assert own.top_logprobs[0] is None and own.top_logprobs[1]
    assert own.text_offset[:2] == [0, len(own.tokens[0])]
    assert (choice.finish_reason, answer.usage.completion_tokens) == ("length", 0)
    assert len(home.engine.seen) == asked and home.engine.scored
    assert answer.lks["fired"][0]["edit"] == "fuji"


def test_an_echo_with_logprobs_has_those_of_both(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="So big", echo=True, logprobs=0)
    own = answer.choices[0].logprobs
    text = answer.choices[0].text
    assert text == "".join(own.tokens) == f"So big{SAID}"
    for token, offset in zip(own.tokens, own.text_offset, strict=True):
        assert text[offset : offset + len(token)] == token
    assert own.token_logprobs[0] is None and own.token_logprobs[-1] == -0.25


def test_nothing_at_all_may_be_written(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="So", max_tokens=0)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("", "length")


# --- asyncio


def test_the_async_client_works_and_its_requests_run_together(home: Served) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{home.url}/v1", api_key="any") as client:
            made = [client.chat.completions.create(model=MODEL, messages=ASKED) for _ in range(20)]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*made)]

    assert asyncio.run(ask()) == [SAID] * 20
