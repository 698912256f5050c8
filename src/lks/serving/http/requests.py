"""What may be asked: the bodies of OpenAI's API, as far as they are supported."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lks.edits.text import encodable
from lks.serving.http.unsupported import OF_BOTH, OF_CHAT, OF_MESSAGE, without

MOST_CHOICES, MOST_PROMPTS = 16, 128
LONGEST_STOP = 500


class Strict(BaseModel):
    """A body in which nothing is guessed: unknown fields and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Stops = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]],
    Field(max_length=4),
    BeforeValidator(_listed, json_schema_input_type=str | list[str] | None),
]


def problem(field: str, told: str) -> PydanticCustomError:
    """What is wrong with a field beside others: `of_validation` names it."""
    return PydanticCustomError("field", "{told}", {"field": field, "told": told})


class Body(Strict):
    """The whole of what is sent."""

    @model_validator(mode="before")
    @classmethod
    def _whole_characters(cls, body: object) -> object:
        """UTF-8 has no halves of characters; only an escape can bring them into JSON."""
        for name, value in body.items() if isinstance(body, dict) else ():
            try:
                json.dumps([name, value], ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise problem(
                    encodable(str(name)),
                    "has half a character, as of an emoji that was cut; take it out",
                ) from None
        return body


class StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class Shared(Body):
    """What both ways to ask have in common. null is as good as a field that is not there."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    n: int = Field(1, ge=1, le=MOST_CHOICES)
    stop: Stops = []
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _nulls(cls, body: object) -> object:
        if not isinstance(body, dict):
            return body
        known = {k for k, own in cls.model_fields.items() if not own.is_required()}
        return {k: v for k, v in body.items() if not (v is None and k in known)}

    @model_validator(mode="after")
    def _streamed(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise problem("stream_options", "is for streams only; set stream to true")
        return self


class TextPart(Strict):
    type: Literal["text"]
    text: str


class Message(Strict):
    """A message of a chat. `developer` is another word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[str, Tag("(text)")] | Annotated[list[TextPart], Tag("(parts)")],
        Discriminator(
            lambda given: {str: "(text)", list: "(parts)"}.get(type(given)),
            custom_error_type="content",
            custom_error_message="must be a text, or a list of text parts",
        ),
    ]

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, body: object) -> object:
        return without(OF_MESSAGE, body)

    @property
    def said(self) -> dict[str, str]:
        """As the model's chat template takes it."""
        role = "system" if self.role == "developer" else self.role
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": role, "content": text}


class Own(Strict):
    """What is ours. baseline: no edits, whatever set the model names."""

    baseline: bool = False


class ChatRequest(Shared):
    """POST /v1/chat/completions"""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    metadata: dict[str, str] | None = None
    lks: Own = Own()

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, body: object) -> object:
        return without(OF_CHAT, body)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise problem("top_logprobs", "needs logprobs; set logprobs to true")
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            raise problem("max_tokens", "differs from max_completion_tokens; give one of them")
        return self

    @property
    def most(self) -> int | None:
        given = self.max_completion_tokens
        return self.max_tokens if given is None else given


Ids = list[Annotated[int, Field(ge=0)]]


def _shape(prompt: object) -> str | None:
    """Which of its shapes a prompt has; None for another one."""
    if isinstance(prompt, str):
        return "(text)"
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    return {str: "(texts)", int: "(ids)", list: "(lists)"}.get(type(first))


class CompletionRequest(Shared):
    """POST /v1/completions"""

    prompt: Annotated[
        Annotated[str, Tag("(text)")]
        | Annotated[list[str], Tag("(texts)")]
        | Annotated[Ids, Tag("(ids)")]
        | Annotated[list[Annotated[Ids, Field(min_length=1)]], Tag("(lists)")],
        Discriminator(
            _shape,
            custom_error_type="prompt",
            custom_error_message="must be a text, a list of texts, a list of token ids, or a list "
            "of such lists, and not empty",
        ),
    ]
    max_tokens: int = Field(16, ge=0)
    best_of: int | None = Field(None, ge=1, le=MOST_CHOICES)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = False
    suffix: None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, body: object) -> object:
        return without(OF_BOTH, body)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.best_of not in (None, self.n):
            raise problem("best_of", f"must be as many as n, {self.n}: each text is given back")
        texts = len(self.prompts) * self.n
        if texts > MOST_PROMPTS:
            raise problem("prompt", f"asks for {texts} texts; at most {MOST_PROMPTS} a request")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        given: Any = self.prompt
        return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)
