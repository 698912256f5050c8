"""Text from tokens one by one, and where each of them stands in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lks.model.offsets import Offsets
from lks.model.untyped import Tokenizer

INCOMPLETE = "\ufffd"  # a character of which only some tokens are there
LONGEST = 8  # tokens that one character may need; beyond, these are no character


class Detokenizer:
    """Tokens in, text out, as soon as a character is whole.

    All that comes out, put together, is the text of the tokens. Some tokenizers write a space
    before a token only behind another one, so a token is read together with those before it.

    Args:
        skipped: tokens that are no text.
        clean_up: whether spaces before signs are taken away; as the tokenizer does if None.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        skipped: Collection[int] = (),
        *,
        clean_up: bool | None = None,
    ) -> None:
        self._tokenizer, self._skipped = tokenizer, frozenset(skipped)
        self._clean_up = clean_up
        self._ids: list[int] = []
        self._told = 0  # of the ids, those whose text came out

    def add(self, token: int) -> str:
        """The text that is whole with this token; empty if a character waits for more."""
        if token not in self._skipped:
            self._ids.append(token)
        return self._next(whole=True)

    def end(self) -> str:
        """What is left when nothing follows."""
        return self._next(whole=False)

    @property
    def waits(self) -> bool:
        """Whether a character is not whole yet."""
        return self._told < len(self._ids)

    def _next(self, *, whole: bool) -> str:
        if not self.waits:
            return ""
        text = self._decode(self._ids)
        if whole and text.endswith(INCOMPLETE) and len(self._ids) - self._told < LONGEST:
            return ""
        known = self._decode(self._ids[: self._told])
        self._ids = self._ids[self._told :]
        self._told = len(self._ids)
        return text[len(known) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=self._clean_up))


def with_offsets(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[str, Offsets]:
    """The text of some tokens, special ones written out, and the characters of each of them.

    Whatever tokens they are, text and spans fit: nothing is tokenised again. Tokens of one
    character share its span.
    """
    reader, text, spans = Detokenizer(tokenizer, clean_up=False), "", list[tuple[int, int]]()
    waiting = 0
    for number, token in enumerate(ids):
        new = reader.add(token)
        waiting += 1
        if number + 1 == len(ids):
            new += reader.end()
        if not reader.waits:
            spans += [(len(text), len(text) + len(new))] * waiting
            text, waiting = text + new, 0
    return text, spans
