"""What the model reads for a prompt or a chat, and which parts of it people wrote."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate
from typing import Any

from lks.errors import InputError

ROLES = ("system", "user", "assistant")
BETWEEN = "\n\n\ufffc\n\n"  # ends a sentence and belongs to no name

MARK = "\ue000{}\ue001"  # stands for a message's content in a chat template's skeleton

Message = Mapping[str, str]  # {"role": ..., "content": ...}
Prompt = str | Sequence[Message]
Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """text[start:end], which somebody in this role wrote.

    `said` is what they wrote if a chat template changed it: the model reads the changed text, and
    mentions are looked for in theirs.
    """

    start: int
    end: int
    role: str = "user"
    said: str | None = None


@dataclass(frozen=True)
class Rendered:
    """What the model reads. Mentions count in `pieces` only.

    A chat template's own words, and a target fed in behind the prompt, lie outside of them.

    Attributes:
        border: where a prompt that ends in white space ends. What follows is tokenised apart, as
            when it is written: " Rome" would take in the space that the model reads as its own.
        lost: roles of messages that the chat template changes beyond recognition.
    """

    text: str
    pieces: tuple[Piece, ...]
    border: int | None = None
    lost: tuple[str, ...] = ()

    @classmethod
    def plain(cls, text: str) -> Rendered:
        return cls(text, (Piece(0, len(text)),))

    def scanned(self, roles: Sequence[str] = ROLES) -> tuple[str, Callable[[int, int], Span]]:
        """What was written in some roles as one text, and a map from its spans to those of `text`.

        A span of which the text holds nothing is mapped to an empty one.

        Raises:
            InputError: a message cannot be found in what the chat template made of it.
        """
        if gone := [role for role in self.lost if role in roles]:
            raise InputError(
                f"the chat template changes what the {gone[0]} says beyond recognition, so no "
                "edited entity can be found there; ask with a plain prompt (--plain)"
            )
        pieces = [piece for piece in self.pieces if piece.role in roles]
        parts = [self.text[p.start : p.end] if p.said is None else p.said for p in pieces]
        firsts = [0, *accumulate(len(part) + len(BETWEEN) for part in parts)]

        def place(start: int, end: int) -> Span:
            number = bisect_right(firsts, start) - 1
            piece, first = pieces[number], firsts[number]
            start, end = start - first, end - first
            if piece.said is not None:
                start, end = moved(piece.said, self.text[piece.start : piece.end], start, end)
            return start + piece.start, end + piece.start

        return BETWEEN.join(parts), place


def moved(said: str, written: str, start: int, end: int) -> Span:
    """Where said[start:end] stands in what a template made of it; an empty span if it left it out.

    Characters that it put in the place of others ("&#39;" for an apostrophe) count whole.
    """
    found = []
    steps = SequenceMatcher(None, said, written, autojunk=False).get_opcodes()
    for step, first, last, into, to in steps:
        own = range(max(first, start), min(last, end))
        if own and step == "equal":
            found.append((into + own.start - first, into + own.stop - first))
        elif own and into < to:
            found.append((into, to))
    return (found[0][0], found[-1][1]) if found else (0, 0)


def encodable(text: str) -> str:
    """The text, of the same length, with a mark for each half of a character that has none."""
    return text.encode("utf-8", "replace").decode("utf-8")


def messages(prompt: Prompt) -> list[Message]:
    """A prompt as the messages of a chat; InputError for what is none."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if not prompt:
        raise InputError("a chat without a message; give at least one")
    for message in prompt:
        if not (isinstance(message, Mapping) and {"role", "content"} <= message.keys()):
            raise InputError(f"a message of a chat needs a role and a content, not {message!r}")
        if message["role"] not in ROLES:
            raise InputError(f"unknown role '{message['role']}'; one of {', '.join(ROLES)}")
        if not isinstance(message["content"], str):
            kind = type(message["content"]).__name__
            raise InputError(f"the content of a chat's message must be text, not {kind}")
    return list(prompt)


def render_chat(template: Callable[[Sequence[Any]], str], chat: Sequence[Message]) -> Rendered:
    """A chat as `template` writes it, and where each message's content stands there.

    The contents are found in the template's skeleton, which has marks in their place: a content may
    well be a word that the template itself uses. Some templates read content as a list of parts.

    Raises:
        InputError: the template refuses the chat, or leaves out all that is said in it.
    """
    problem = InputError("the chat template leaves out what the messages say")
    marks = [MARK.format(number) for number in range(len(chat))]
    for shape in (str, _parts):
        try:
            text, skeleton = (
                template([{**m, "content": shape(c)} for m, c in zip(chat, own, strict=True)])
                for own in ([m["content"] for m in chat], marks)
            )
        except InputError as error:
            problem = error if shape is str else problem
            continue
        if any(mark in skeleton for mark in marks):
            return _found(text, skeleton, chat)
    raise problem


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _found(text: str, skeleton: str, chat: Sequence[Message]) -> Rendered:
    """A template may leave a message out, or write them in another order."""
    first, *rest = re.split(MARK.format(r"(\d+)"), skeleton)
    numbers = list(map(int, rest[::2]))
    spans = _between([m["content"] for m in (chat[n] for n in numbers)], [first, *rest[1::2]], text)
    if spans is None:  # the template says other things, as by what the messages say
        return _searched([chat[number] for number in sorted(set(numbers))], text)
    found = []
    for number, (start, end) in sorted(zip(numbers, spans, strict=True)):
        said, written = chat[number]["content"], text[start:end]
        changed = None if written in (said, said.strip()) else said
        found.append(Piece(start, end, chat[number]["role"], changed))
    return Rendered(text, tuple(found))


def _between(contents: Sequence[str], own: Sequence[str], text: str) -> list[Span] | None:
    """Where contents stand between a template's own words: as they are, stripped, or changed."""
    if not text.startswith(own[0]):
        return None
    at, spans = len(own[0]), []
    for number, (content, behind) in enumerate(zip(contents, own[1:], strict=True), start=1):
        last = number == len(contents)
        kept = (c for c in (content, content.strip()) if text.startswith(c + behind, at))
        end = at + len(next(kept, ""))
        if not text.startswith(behind, end) or (last and end + len(behind) != len(text)):
            end = len(text) - len(behind) if last else text.find(behind, at)
        if end < at or not text.startswith(behind, end):
            return None
        spans.append((at, end))
        at = end + len(behind)
    return spans


def _searched(chat: Sequence[Message], text: str) -> Rendered:
    pieces, lost, at = [], [], 0
    for message in chat:
        content, role = message["content"].strip(), message["role"]
        start = text.find(content, at)
        if start < 0:
            lost.append(role)
        else:
            at = start + len(content)
            pieces.append(Piece(start, at, role))
    return Rendered(text, tuple(pieces), lost=tuple(lost))
