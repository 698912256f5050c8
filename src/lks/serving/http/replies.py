"""What is answered: the shapes of /openapi.json. Answers are checked against them in tests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Wrong(Reply):
    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str | None
    problems: list[str] = []


class Error(Reply):
    """Every error has this shape."""

    error: Wrong


class Place(Reply):
    """Where an edit fired in a prompt, or nearly did: characters of the prompt or the message."""

    edit: str
    subject: str
    choice: int | None = Field(description="Index of the choice; null: of all choices.")
    message: int | None = Field(description="Index of the chat's message; null in a plain prompt.")
    span: list[int] = Field(min_length=2, max_length=2)
    text: str
    score: float | None
    verdict: Literal["yes", "no"] | None = Field(
        None, description="Which is right, where yes or no is asked for; else it is absent."
    )


class NearPlace(Place):
    reason: str


class Own(Reply):
    set: str | None
    version: int | None
    fired: list[Place]
    near: list[NearPlace]


class Usage(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Answer(Reply):
    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage
    lks: Own


class ChatMessage(Reply):
    role: Literal["assistant"]
    content: str
    refusal: None


class TokenScore(Reply):
    token: str
    logprob: float
    bytes: list[int]


class TopTokenScore(TokenScore):
    top_logprobs: list[TokenScore]


class ChatScores(Reply):
    content: list[TopTokenScore]
    refusal: None


class ChatChoice(Reply):
    index: int
    message: ChatMessage
    logprobs: ChatScores | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(Answer):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class Columns(Reply):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(Reply):
    index: int
    text: str
    logprobs: Columns | None
    finish_reason: Literal["stop", "length"]


class Completion(Answer):
    object: Literal["text_completion"]
    choices: list[TextChoice]


class Model(Reply):
    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["lks"]


class Models(Reply):
    object: Literal["list"]
    data: list[Model]


class SetReply(Reply):
    name: str
    version: int
    approval: bool
    facts: int
    created: str


class Sets(Reply):
    data: list[SetReply]


class FactReply(BaseModel):
    """A fact: what the server knows of it, and all keys of its record."""

    id: str
    revision: int
    state: str
    subject: str
    prompt: str
    target: str
    why: str | None
    shaky: list[str] | None
    valid_from: str | None
    valid_until: str | None
    tags: list[str]
    by: str
    reason: str | None
    at: str | None
    since: int | None
    until: int | None
    hits: int


class Facts(Reply):
    data: list[FactReply]
    total: int
    after: str | None
    version: int


class Revisions(Reply):
    data: list[FactReply]


class JobReply(Reply):
    id: str
    set: str
    state: Literal["proposed", "queued", "learning", "done", "failed"]
    facts: list[str]
    failed: dict[str, str]
    version: int | None
    created: str
    finished: str | None


class Jobs(Reply):
    data: list[JobReply]


class Version(Reply):
    version: int


class DryText(Reply):
    text: str
    fired: list[Place]
    near: list[NearPlace]


class DryRun(Reply):
    version: int
    data: list[DryText]


class ChangeReply(Reply):
    version: int
    at: str
    by: str
    action: str
    facts: list[str]
    reason: str | None


class History(Reply):
    data: list[ChangeReply]


class Changed(Reply):
    id: str
    keys: list[str]
    before: dict[str, Any]
    after: dict[str, Any]


class Diff(Reply):
    added: list[dict[str, Any]]
    removed: list[dict[str, Any]]
    changed: list[Changed]


class Check(Reply):
    id: str
    subject: str
    kind: str
    prompt: str
    wanted: str = Field(description="What the answer was to be, for people.")
    passed: bool
    answer: str | None = Field(description="null: nothing fired, and nothing had to.")
    fired: list[str]


class Tested(Reply):
    id: str
    subject: str
    passed: bool
    checks: list[Check]


class Tests(Reply):
    data: list[Tested]


class Minute(Reply):
    at: str
    requests: int
    texts: int
    fired: int
    tokens: int


class Hit(Reply):
    set: str
    edit: str
    count: int


class NearMiss(Reply):
    at: str
    set: str
    edit: str
    subject: str
    reason: str
    score: float | None
    text: str | None = Field(description="Only if the server keeps prompts.")


class Times(Reply):
    p50: float | None
    p99: float | None


class Latency(Reply):
    first_token: Times
    between_tokens: Times


class Queue(Reply):
    running: int
    waiting: int


class TrafficReply(Reply):
    since: str
    requests: int
    texts: int
    fired: int
    tokens: int
    minutes: list[Minute]
    hits: list[Hit]
    near: list[NearMiss]
    latency: Latency
    queue: Queue


class WhoAmI(Reply):
    tenant: str
    role: Literal["ask", "edit", "approve", "admin"]
    name: str
    default_set: str | None
    model: str
    open: bool


class Health(Reply):
    status: str


_ERRORS = {
    400: "A field is wrong; `param` names it.",
    401: "No key, or an unknown one.",
    403: "The key's role does not allow it.",
    404: "No such thing, or it is another tenant's.",
    405: "Not with this method.",
    409: "Another fact or another change stands against it.",
    412: "The set has changed since the version in If-Match.",
    413: "The body is too long.",
    429: "Too many requests wait; Retry-After tells when to try again.",
    500: "Something went wrong in the server.",
    503: "The model is being loaded.",
}

_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}


def replies(
    model: type[BaseModel] | None, status: int = 200, *, stream: bool = False
) -> dict[int | str, dict[str, Any]]:
    """What a route may answer: this, or one of the errors."""
    ok: dict[str, Any] = {"description": "What was asked for."}
    if model is not None:
        ok["model"] = model
    if stream:
        ok["content"] = {"text/event-stream": {"itemSchema": _EVENT}}
    errors: dict[int | str, dict[str, Any]] = {
        code: {"model": Error, "description": told} for code, told in _ERRORS.items()
    }
    return {status: ok, **errors}
