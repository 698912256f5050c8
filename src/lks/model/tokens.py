"""What a tokenizer makes of texts and chats: its special tokens, its chat template, token ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile

from jinja2 import TemplateError

from lks.edits.text import encodable
from lks.errors import InputError
from lks.model.chat import Message, Rendered, TemplateMessage, render_chat
from lks.model.offsets import Offsets, tokens_from
from lks.model.untyped import Tokenizer


def special_around(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and behind a plain text."""
    mask = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    before = len(list(takewhile(bool, mask)))
    return before, len(list(takewhile(bool, reversed(mask[before:]))))


def special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens that are not text: the named ones and all that are marked as special."""
    marked = (index for index, t in tokenizer.added_tokens_decoder.items() if t.special)
    return frozenset([*tokenizer.all_special_ids, *marked])


_STICKS = re.compile(r"[./:_@#&=?+~\\-]*[^\W_]|[/_@#&=~\\]")


def sticking_ids(tokenizer: Tokenizer) -> list[int]:
    """Tokens that go on with a word, a number or an address: they begin with a letter or a digit,
    perhaps behind signs, or with a sign that ends no sentence."""
    (digit,) = tokenizer("1", add_special_tokens=False).input_ids[-1:]
    before = len(tokenizer.decode([digit]))
    pairs = tokenizer.batch_decode([[digit, token] for token in range(len(tokenizer))])
    return [token for token, text in enumerate(pairs) if _STICKS.match(text, before)]


def tokenized(
    tokenizer: Tokenizer, text: str, border: int | None = None, *, special: bool, ending: int = 0
) -> tuple[list[int], Offsets]:
    """Token ids and character spans, [n] each.

    Args:
        border: no token reaches across this character, which stands behind white space.
        special: whether the tokenizer adds its special tokens; the last `ending` are left out.
    """
    encoded = tokenizer(
        encodable(text[:border]),
        add_special_tokens=special,
        return_offsets_mapping=True,
        verbose=False,  # of a text that is too long the backbone tells
    )
    own = slice(len(encoded["input_ids"]) - ending)
    ids, spans = list(encoded["input_ids"])[own], list(encoded["offset_mapping"])[own]
    if border is None or border == len(text):
        return ids, spans
    # Some tokenizers put a space before a text, so it is read behind a line break, if the two do
    # not become one token.
    for before in ("\n", ""):
        more, places = tokenized(tokenizer, before + text[border:], special=False)
        first, shift = tokens_from(places, len(before)), border - len(before)
        if places[first:] and places[first][0] >= len(before):
            break
    return ids + more[first:], spans + [(a + shift, b + shift) for a, b in places[first:]]


def has_template(tokenizer: Tokenizer) -> bool:
    return bool(getattr(tokenizer, "chat_template", None))


def chat(tokenizer: Tokenizer, turns: Sequence[Message], *, answered: bool = False) -> Rendered:
    """Turns as the chat template writes them: it waits for an answer, or they end in one.

    Raises:
        InputError: the template refuses them.
    """

    def template(turns: Sequence[TemplateMessage]) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(
                    list(turns), tokenize=False, add_generation_prompt=not answered
                )
            )
        except (
            TemplateError,
            TypeError,
            ValueError,
        ) as error:  # many know no system message, or need one
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"the chat template refuses this chat: {reason}") from None

    return render_chat(template, turns)


def takes_turns(tokenizer: Tokenizer) -> bool:
    """Whether there is a chat template that takes a user's turn alone."""
    if has_template(tokenizer):
        with suppress(InputError):
            return bool(chat(tokenizer, [{"role": "user", "content": "?"}]).text)
    return False


def turn_end(tokenizer: Tokenizer) -> int | None:
    """The special token behind an answer in a chat; end-of-text where none is found."""
    system, asked, answer = (
        {"role": role, "content": "zebra"} for role in ("system", "user", "assistant")
    )
    special = special_ids(tokenizer)
    for turns in ([asked, answer], [system, asked, answer]) if has_template(tokenizer) else ():
        with suppress(InputError):
            written = chat(tokenizer, turns, answered=True)
            behind = written.text[written.pieces[-1].end :]
            ids, _ = tokenized(tokenizer, behind, special=False)
            return next((i for i in ids if i in special), tokenizer.eos_token_id)
    end: int | None = tokenizer.eos_token_id
    return end
