"""Log-probabilities in OpenAI's two shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lks.serving.http.choice import Told
from lks.serving.http.detokenizer import Detokenizer, Vocabulary
from lks.serving.protocol import Scored

LEAST = -9999.0  # stands for minus infinity, which JSON has not


def of_chat(vocabulary: Vocabulary, tokens: Iterable[Told], top: int) -> dict[str, object]:
    """`choices[].logprobs` of a chat."""
    content = []
    for told in tokens:
        own = _entry(vocabulary, told.step.token, told.step.logprob)
        likeliest = told.step.top[:top]
        content.append({**own, "top_logprobs": [_entry(vocabulary, t, p) for t, p in likeliest]})
    return {"content": content, "refusal": None}


def _entry(vocabulary: Vocabulary, token: int, logprob: float | None) -> dict[str, object]:
    text, own = vocabulary.label(token)
    return {"token": text, "logprob": _finite(logprob), "bytes": list(own)}


def _finite(logprob: float | None) -> float:
    return LEAST if logprob is None else max(LEAST, logprob)


@dataclass
class Columns:
    """`choices[].logprobs` of a completion: a list for each thing that is told of the tokens."""

    vocabulary: Vocabulary
    top: int
    tokens: list[str] = field(default_factory=list)
    token_logprobs: list[float | None] = field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = field(default_factory=list)
    text_offset: list[int] = field(default_factory=list)

    def read(self, scores: Sequence[Scored]) -> None:
        """Tokens of the prompt, from its beginning on."""
        detokenizer, offset = Detokenizer(self.vocabulary), 0
        for own in scores:
            self._add(own.token, own.logprob, own.top, offset)
            offset += len(detokenizer.add(own.token))

    def wrote(self, tokens: Iterable[Told], before: int) -> None:
        """Tokens of the text, which begins at this character of what is given back."""
        for told in tokens:
            step = told.step
            self._add(step.token, step.logprob, step.top, before + told.offset)

    def _add(
        self, token: int, logprob: float | None, top: Iterable[tuple[int, float]], offset: int
    ) -> None:
        text, _ = self.vocabulary.label(token)
        self.tokens.append(text)
        self.text_offset.append(offset)
        if logprob is None:  # nothing stands before the first token of a prompt
            self.token_logprobs.append(None)
            self.top_logprobs.append(None)
            return
        own = {self.vocabulary.label(t)[0]: _finite(p) for t, p in [*top][: self.top]}
        self.token_logprobs.append(_finite(logprob))
        self.top_logprobs.append(own | {text: _finite(logprob)})

    def to_json(self) -> dict[str, object]:
        return {
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        }
