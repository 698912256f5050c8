"""What the model reads for a prompt or a chat, and which parts of it people wrote."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lks.errors import InputError

ROLES = ("system", "user", "assistant")
BETWEEN = "\n\n\ufffc\n\n"  # ends a sentence and belongs to no name

Message = Mapping[str, str]  # {"role": ..., "content": ...}
Prompt = str | Sequence[Message]
Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """text[start:end], which somebody in this role wrote."""

    start: int
    end: int
    role: str = "user"


@dataclass(frozen=True)
class Rendered:
    """What the model reads. Mentions count in `pieces` only.

    A chat template's own words, and a target fed in behind the prompt, lie outside of them.
    """

    text: str
    pieces: tuple[Piece, ...]

    @classmethod
    def plain(cls, text: str) -> Rendered:
        return cls(text, (Piece(0, len(text)),))

    def scanned(self, roles: Sequence[str] = ROLES) -> tuple[str, Callable[[int, int], Span]]:
        """The pieces of some roles as one text, and a map from its spans to spans of `text`."""
        pieces = [piece for piece in self.pieces if piece.role in roles]
        lengths = (piece.end - piece.start + len(BETWEEN) for piece in pieces)
        firsts = [0, *accumulate(lengths)]

        def place(start: int, end: int) -> Span:
            number = bisect_right(firsts, start) - 1
            shift = pieces[number].start - firsts[number]
            return start + shift, end + shift

        return BETWEEN.join(self.text[piece.start : piece.end] for piece in pieces), place


def encodable(text: str) -> str:
    """The text, of the same length, with a mark for each half of a character that has none."""
    return text.encode("utf-8", "replace").decode("utf-8")


def messages(prompt: Prompt) -> list[Message]:
    """A prompt as the messages of a chat; InputError for what is none."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt.strip()}]
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
    return [{**message, "content": message["content"].strip()} for message in prompt]


def each_prompt(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts; InputError for one prompt, or one chat, where there should be a list of them."""
    if isinstance(prompts, str):
        raise InputError("prompts must be a list; put the one in brackets: [prompt]")
    found = list(prompts)
    if any(isinstance(prompt, Mapping) for prompt in found):
        raise InputError("chats must be a list of chats; put the one in brackets: [messages]")
    return found


def render_chat(template: Callable[[Sequence[Message]], str], chat: Sequence[Message]) -> Rendered:
    """A chat as `template` writes it, and where each message's content stands there.

    The contents are found by rendering marks in their place: a content may well be a word that
    the template itself uses. A template that changes contents is searched for them instead.
    """
    text = template(chat)
    marks = [f"\ue000{number}\ue001" for number in range(len(chat))]
    marked = template([{**m, "content": k} for m, k in zip(chat, marks, strict=True)])
    found = _marked_pieces(marked, marks, chat) or []
    if not found or _filled(marked, marks, chat) != text:
        found = _searched_pieces(text, chat)
    return Rendered(text, tuple(found))


def _filled(marked: str, marks: Sequence[str], chat: Sequence[Message]) -> str:
    for mark, message in zip(marks, chat, strict=True):
        marked = marked.replace(mark, message["content"])
    return marked


def _marked_pieces(marked: str, marks: Sequence[str], chat: Sequence[Message]) -> list[Piece]:
    """In the order of the chat; a template may leave a message out, or write them in another."""
    places = sorted((marked.find(mark), i) for i, mark in enumerate(marks) if mark in marked)
    pieces, shift = {}, 0
    for at, number in places:
        length, start = len(chat[number]["content"]), at + shift
        pieces[number] = Piece(start, start + length, chat[number]["role"])
        shift += length - len(marks[number])
    return [pieces[number] for number in sorted(pieces)]


def _searched_pieces(text: str, chat: Sequence[Message]) -> list[Piece]:
    pieces, at = [], 0
    for message in chat:
        start = text.find(message["content"], at)
        if start >= 0:
            at = start + len(message["content"])
            pieces.append(Piece(start, at, message["role"]))
    return pieces
