"""POST /v1/chat/completions"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import Response

from lks.serving.http import logprobs
from lks.serving.http.answering import Answering, Wanted
from lks.serving.http.auth import Asker, TheBackend, TheServer
from lks.serving.http.choice import Told
from lks.serving.http.errors import LOG, engine_failure
from lks.serving.http.json_response import Json
from lks.serving.http.replies import ChatCompletion, replies
from lks.serving.http.requests import ChatRequest
from lks.serving.http.streaming import DONE, Events, unless_gone
from lks.serving.protocol import EngineFailure

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/chat/completions", responses=replies(ChatCompletion, stream=True))
async def chat_completions(
    body: ChatRequest, request: Request, server: TheServer, backend: TheBackend, who: Asker
) -> Response:
    """Answer a chat. `model` names the unedited model, or MODEL:SET for a set of facts."""
    wanted = Wanted(
        model=body.model,
        prompts=[[message.said for message in body.messages]],
        chat=True,
        most=body.most,
        limit_name="max_tokens" if body.max_completion_tokens is None else "max_completion_tokens",
        baseline=body.lks.baseline,
        n=body.n,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stops=body.stop,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )

    async def whole() -> Response:
        answering = await Answering.begin(server, backend, who, wanted)
        return Json(await _whole(answering), headers=answering.headers)

    if not body.stream:
        return await unless_gone(request.receive, whole()) or Response(status_code=499)
    answering = await Answering.begin(server, backend, who, wanted)
    usage = body.stream_options is not None and body.stream_options.include_usage
    return Events(_events(answering, usage=usage), answering.headers, answering.close)


@dataclass
class _Said:
    text: list[str] = field(default_factory=list)
    tokens: list[Told] = field(default_factory=list)
    finish: str | None = None


async def _whole(answering: Answering) -> dict[str, object]:
    said = [_Said() for _ in answering.choices]
    async for number, part in answering.parts():
        own = said[number]
        own.text.append(part.text)
        own.tokens += part.tokens
        own.finish = part.finish
    choices = [
        {
            "index": number,
            "message": {"role": "assistant", "content": "".join(own.text), "refusal": None},
            "logprobs": _logprobs(answering, own.tokens),
            "finish_reason": own.finish,
        }
        for number, own in enumerate(said)
    ]
    head = _head(answering, "chat.completion")
    return {**head, "choices": choices, "usage": answering.usage, "lks": answering.told()}


async def _events(answering: Answering, *, usage: bool) -> AsyncGenerator[object]:
    head = _head(answering, "chat.completion.chunk")
    head |= {"usage": None} if usage else {}

    def chunk(number: int, delta: Mapping[str, object], **more: object) -> dict[str, object]:
        choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": None}
        return {**head, "choices": [{**choice, **more}]}

    try:
        for number in range(len(answering.choices)):
            yield chunk(number, {"role": "assistant", "content": "", "refusal": None})
        async for number, part in answering.parts():
            scores = _logprobs(answering, part.tokens)
            if part.text or (part.tokens and scores):
                yield chunk(number, {"content": part.text}, logprobs=scores)
            if part.finish:
                last = chunk(number, {}, finish_reason=part.finish)
                yield {**last, "lks": answering.told(number)}
        if usage:
            yield {**head, "choices": [], "usage": answering.usage}
        yield DONE
    except EngineFailure as error:
        LOG.warning("the engine: %s", error)
        yield engine_failure().body


def _head(answering: Answering, kind: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": kind,
        "created": answering.created,
        "model": answering.target.name,
        "system_fingerprint": answering.target.system,
    }


def _logprobs(answering: Answering, tokens: Sequence[Told]) -> dict[str, object] | None:
    top = answering.wanted.logprobs
    return (
        None if top is None else logprobs.of_chat(answering.backend.front.vocabulary, tokens, top)
    )
