"""What vLLM gives, as the server's engines tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lks.serving.protocol import EngineFailure, Scored, Step

Told = tuple[float, list[tuple[int, float]]]


def steps(output: Any, logprobs: int | None) -> Iterator[Step]:
    """The steps of one part of a text.

    Args:
        output: a CompletionOutput with what is new.
        logprobs: as of `Sampling`.

    Raises:
        EngineFailure: the text ended as none should.
    """
    tokens, finish = list(output.token_ids), output.finish_reason
    if finish not in (None, "stop", "length"):
        raise EngineFailure(f"vLLM ended the text: {finish}")
    if finish and not tokens:
        raise EngineFailure("vLLM ended the text without its last token")
    for number, token in enumerate(tokens):
        last = finish if number == len(tokens) - 1 else None
        if logprobs is None:
            yield Step(token, finish=last)
            continue
        logprob, top = told(token, output.logprobs[number], logprobs)
        yield Step(token, logprob, top, last)


def scored(
    ids: Sequence[int], given: Sequence[Mapping[int, Any] | None], most: int
) -> list[Scored]:
    """The tokens of a prompt; the first one has no log-probability."""
    found = [Scored(ids[0], None)]
    for token, own in zip(ids[1:], given[1:], strict=True):
        assert own is not None
        found.append(Scored(token, *told(token, own, most)))
    return found


def told(token: int, given: Mapping[int, Any], most: int) -> Told:
    """(log-probability of a token, the likeliest tokens and theirs); vLLM numbers these from 1."""
    ranked = sorted(given.items(), key=lambda pair: pair[1].rank)
    top = [(int(one), float(own.logprob)) for one, own in ranked if own.rank <= most]
    return float(given[token].logprob), top[:most]
