"""POST /v1/completions"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import Response

from lks.serving.http.answering import Answering, Wanted
from lks.serving.http.auth import Asker, TheBackend, TheServer
from lks.serving.http.choice import Part
from lks.serving.http.errors import LOG, engine_failure
from lks.serving.http.json_response import Json
from lks.serving.http.logprobs import Columns
from lks.serving.http.replies import Completion, replies
from lks.serving.http.requests import CompletionRequest
from lks.serving.http.streaming import DONE, Events, unless_gone
from lks.serving.protocol import EngineFailure

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/completions", responses=replies(Completion, stream=True))
async def completions(
    body: CompletionRequest, request: Request, server: TheServer, backend: TheBackend, who: Asker
) -> Response:
    """Go on with a text. `model` names the unedited model, or MODEL:SET for a set of facts."""
    wanted = Wanted(
        model=body.model,
        prompts=body.prompts,
        chat=False,
        most=body.max_tokens,
        capped="max_tokens" not in body.model_fields_set,
        n=body.n,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stops=body.stop,
        logprobs=body.logprobs,
        scored=body.echo and body.logprobs is not None,
    )

    async def whole() -> Response:
        answering = await Answering.begin(server, backend, who, wanted)
        return Json(await _whole(answering, body), headers=answering.headers)

    if not body.stream:
        return await unless_gone(request.receive, whole()) or Response(status_code=499)
    answering = await Answering.begin(server, backend, who, wanted)
    return Events(_events(answering, body), answering.headers, answering.close)


@dataclass
class _Text:
    """A choice: where its own text begins, behind the prompt's if that is given back."""

    index: int
    echo: str
    columns: Columns | None

    def choice(self, text: str, finish: str | None) -> dict[str, object]:
        scores = self.columns.to_json() if self.columns else None
        return {"index": self.index, "text": text, "logprobs": scores, "finish_reason": finish}

    def add(self, part: Part) -> None:
        if self.columns:
            self.columns.wrote(part.tokens, len(self.echo))


def _texts(answering: Answering, body: CompletionRequest) -> list[_Text]:
    made = []
    for index in range(len(answering.choices)):
        number = index // body.n
        echo = _echo(answering, body, number) if body.echo else ""
        columns = _columns(answering)
        if columns and body.echo:
            columns.read(answering.scores[number])
        made.append(_Text(index, echo, columns))
    return made


def _columns(answering: Answering) -> Columns | None:
    top = answering.wanted.logprobs
    return None if top is None else Columns(answering.backend.front.vocabulary, top)


def _echo(answering: Answering, body: CompletionRequest, number: int) -> str:
    prompt = body.prompts[number]
    return prompt if isinstance(prompt, str) else answering.backend.front.vocabulary.text(prompt)


async def _whole(answering: Answering, body: CompletionRequest) -> dict[str, object]:
    texts = _texts(answering, body)
    written = [[text.echo] for text in texts]
    finish = ["length"] * len(texts)
    async for number, part in answering.parts():
        texts[number].add(part)
        written[number].append(part.text)
        finish[number] = part.finish or finish[number]
    choices = [
        text.choice("".join(own), why)
        for text, own, why in zip(texts, written, finish, strict=True)
    ]
    head = _head(answering)
    return {**head, "choices": choices, "usage": answering.usage, "lks": answering.told()}


async def _events(answering: Answering, body: CompletionRequest) -> AsyncGenerator[object]:
    options = body.stream_options
    usage, head = options is not None and options.include_usage, _head(answering)
    head |= {"usage": None} if usage else {}
    try:
        texts = _texts(answering, body)
        ended = body.max_tokens == 0
        for text in texts if body.echo or ended else ():
            yield _chunk(answering, head, text, text.echo, "length" if ended else None)
        async for number, part in answering.parts():
            text = texts[number]
            text.columns = _columns(answering)
            text.add(part)
            yield _chunk(answering, head, text, part.text, part.finish)
        if usage:
            yield {**head, "choices": [], "usage": answering.usage}
        yield DONE
    except EngineFailure as error:
        LOG.warning("the engine: %s", error)
        yield engine_failure().body


def _chunk(
    answering: Answering, head: dict[str, object], text: _Text, said: str, finish: str | None
) -> dict[str, object]:
    chunk = {**head, "choices": [text.choice(said, finish)]}
    return {**chunk, "lks": answering.told(text.index)} if finish else chunk


def _head(answering: Answering) -> dict[str, object]:
    return {
        "id": f"cmpl-{uuid4().hex}",
        "object": "text_completion",
        "created": answering.created,
        "model": answering.target.name,
        "system_fingerprint": answering.target.system,
    }
