"""What the model reads for a prompt or a chat, and which parts of it people wrote."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lks.errors import InputError
from lks.scope.normalizer import BETWEEN

ROLES = ("system", "user", "assistant")

MARK = "\ue000{}\ue001"  # stands for a message's content in a chat template's skeleton
JOINT = "\ue002"  # put between the words of a content that a template changes

Message = Mapping[str, str]  # {"role": ..., "content": ...}
Prompt = str | Sequence[Message]
Content = str | list[dict[str, str]]  # as a chat template takes it: a text, or parts
TemplateMessage = Mapping[str, Content]
Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """text[start:end], which somebody in this role wrote.

    `said` is what they wrote if a chat template changed it: the model reads the changed text, and
    mentions are looked for in theirs. `words` are where a word begins there and in text[start:end].
    `message` is the number of the message in the chat that this is the content of.
    """

    start: int
    end: int
    role: str = "user"
    said: str | None = None
    words: tuple[Span, ...] = ()
    message: int = 0

    def placed(self, start: int, end: int) -> Span:
        """Where a span of what was said stands in the text, whole words of it."""
        if self.said is not None:
            start = max(written for said, written in self.words if said <= start)
            end = min(written for said, written in self.words if said >= end)
        return start + self.start, end + self.start


@dataclass(frozen=True)
class Rendered:
    """What the model reads. Mentions count in `pieces` only.

    A chat template's own words, and a target fed in behind the prompt, lie outside of them.

    Attributes:
        border: where a prompt that ends in white space ends. What follows is tokenised apart, as
            when it is written: " Rome" would take in the space that the model reads as its own.
        begun: where the answer begins that the model goes on with; it has not begun one if None.
        lost: roles of messages that the chat template changes beyond recognition.
    """

    text: str
    pieces: tuple[Piece, ...]
    border: int | None = None
    begun: int | None = None
    lost: tuple[str, ...] = ()

    @classmethod
    def plain(cls, text: str) -> Rendered:
        return cls(text, (Piece(0, len(text)),))

    def beginning(self, most: int) -> str:
        """At most so many first characters of what was said last, on one line."""
        last = self.text[self.pieces[-1].start : self.pieces[-1].end] if self.pieces else self.text
        line = " ".join(last[: 2 * most].split())
        return line if len(line) <= most else f"{line[:most].rstrip()}..."

    def scanned(self, roles: Sequence[str] = ROLES) -> tuple[str, Callable[[int, int], Span]]:
        """What was written in some roles as one text, and a map from its spans to those of `text`.

        Raises:
            InputError: a message cannot be found in what the chat template made of it.
        """
        if gone := [role for role in self.lost if role in roles]:
            raise InputError(
                f"the chat template changes what the {gone[0]} says beyond recognition, so no "
                "edited entity can be found there; ask with a plain prompt (--plain)"
            )

        spoken = self.spoken(roles)

        def place(start: int, end: int) -> Span:
            piece, first = spoken(start)
            return piece.placed(start - first, end - first)

        return BETWEEN.join(self.said(piece) for piece in self._of(roles)), place

    def said(self, piece: Piece) -> str:
        """What somebody wrote, before a chat template changed it."""
        return self.text[piece.start : piece.end] if piece.said is None else piece.said

    def spoken(self, roles: Sequence[str] = ROLES) -> Callable[[int], tuple[Piece, int]]:
        """A map from a character of the text that `scanned` gives to the piece that holds it, and
        to where in that text the piece begins."""
        pieces = self._of(roles)
        firsts = [0, *accumulate(len(self.said(piece)) + len(BETWEEN) for piece in pieces)]

        def holder(at: int) -> tuple[Piece, int]:
            number = bisect_right(firsts, at) - 1
            return pieces[number], firsts[number]

        return holder

    def _of(self, roles: Sequence[str]) -> list[Piece]:
        return [piece for piece in self.pieces if piece.role in roles]


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


def each_prompt(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts; InputError for one prompt, or one chat, where there should be a list of them."""
    if isinstance(prompts, str):
        raise InputError("prompts must be a list; put the one in brackets: [prompt]")
    found = list(prompts)
    if any(isinstance(prompt, Mapping) for prompt in found):
        raise InputError("chats must be a list of chats; put the one in brackets: [messages]")
    return found


def each_pair(pairs: Sequence[tuple[Prompt, str]]) -> list[tuple[Prompt, str]]:
    """The (prompt, target) pairs; InputError for one that is none, or where it should be a list."""
    found = list(pairs)
    for pair in found:
        if isinstance(pair, str | Mapping) or len(pair) != 2 or not isinstance(pair[1], str):
            raise InputError(
                f"a pair must be a prompt and its target, not {pair!r:.60}; put the pairs in "
                "brackets: [(prompt, target)]"
            )
    return found


def render_chat(
    template: Callable[[Sequence[TemplateMessage]], str], chat: Sequence[Message]
) -> Rendered:
    """A chat as `template` writes it, and where each message's content stands there.

    The contents are found in the template's skeleton, which has marks in their place: a content may
    well be a word that the template itself uses. Some templates read content as a list of parts.

    Raises:
        InputError: the template refuses the chat, or leaves out all that is said in it.
    """
    problem = InputError("the chat template leaves out what the messages say")
    contents = [message["content"] for message in chat]
    marks = [MARK.format(number) for number in range(len(chat))]
    shapes: tuple[Callable[[str], Content], ...] = (str, _parts)
    for shape in shapes:

        def filled(contents: Sequence[str], shape: Callable[[str], Content] = shape) -> str:
            pairs = zip(chat, contents, strict=True)
            return template([{**message, "content": shape(text)} for message, text in pairs])

        try:
            text, skeleton = filled(contents), filled(marks)
        except InputError as error:
            problem = error if shape is str else problem
            continue
        if any(mark in skeleton for mark in marks):
            return _found(text, skeleton, chat, filled)
    raise problem


def _parts(text: str) -> Content:
    return [{"type": "text", "text": text}]


def _found(
    text: str, skeleton: str, chat: Sequence[Message], filled: Callable[[Sequence[str]], str]
) -> Rendered:
    """A template may leave a message out, or write them in another order."""
    first, *rest = re.split(MARK.format(r"(\d+)"), skeleton)
    numbers, contents = list(map(int, rest[::2])), [message["content"] for message in chat]
    spans = _between([contents[n] for n in numbers], [first, *rest[1::2]], text)
    if spans is None:  # the template says other things, as by what the messages say
        return _searched({number: chat[number] for number in sorted(set(numbers))}, text)
    placed = sorted(zip(numbers, spans, strict=True))
    changed = {n for n, (start, end) in placed if text[start:end] not in contents[n]}
    pieces, lost, joints = [], [], list[int]()
    if changed:
        parted = [JOINT.join(_words(c)) if n in changed else c for n, c in enumerate(contents)]
        between = filled(parted).split(JOINT)
        if "".join(between) == text:
            joints = list(accumulate(map(len, between)))[:-1]
    for number, (start, end) in placed:
        said, role = contents[number], chat[number]["role"]
        if number not in changed:
            pieces.append(Piece(start, end, role, message=number))
            continue
        lengths = [0, *accumulate(map(len, _words(said)))]
        inside = [0, *(at - start for at in joints if start <= at <= end), end - start]
        if len(inside) == len(lengths):
            words = tuple(zip(lengths, inside, strict=True))
            pieces.append(Piece(start, end, role, said, words, number))
        else:
            lost.append(role)
    return Rendered(text, tuple(pieces), lost=tuple(lost))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|\W", text)


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


def _searched(chat: Mapping[int, Message], text: str) -> Rendered:
    pieces, lost, at = [], [], 0
    for number, message in chat.items():
        content, role = message["content"].strip(), message["role"]
        start = text.find(content, at)
        if start < 0:
            lost.append(role)
        else:
            at = start + len(content)
            pieces.append(Piece(start, at, role, message=number))
    return Rendered(text, tuple(pieces), lost=tuple(lost))
