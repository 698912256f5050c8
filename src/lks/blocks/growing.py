"""A text that a model writes, looked through word by word: its own words may fire edits too."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from lks.blocks.in_force import InForce, Located
from lks.model.chat import Piece, Rendered
from lks.model.detokenizer import Detokenizer
from lks.model.encoding import Tokens
from lks.model.offsets import Offsets
from lks.model.untyped import Tokenizer
from lks.scope.normalizer import spaceless

MOST_CHANGES = 8  # times that edits come into force in one text
SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s|\n|(?<=[。！？])(?=.)")


@dataclass(frozen=True, eq=False)
class Looking:
    """How texts are looked through; what is found in one is `Located`.

    Attributes:
        roles: whose messages count.
        exact: of edits that do not say it themselves.
    """

    in_force: InForce
    roles: Sequence[str]
    exact: bool
    tokenizer: Tokenizer
    special_ids: Collection[int]

    def __call__(self, texts: Sequence[Rendered], offsets: Sequence[Offsets]) -> list[Located]:
        return self.in_force.located(texts, offsets, self.roles, exact=self.exact)

    def names(self, text: str) -> bool:
        """Whether a text names an edited entity, or may name one."""
        return bool(self.in_force.scope.may_fire([text]))


class Growing:
    """One text while it is written.

    Edits that its own words fire come into force behind the word that made the difference: the
    prompt and what is written up to there are read again, with their blocks in. What has fired
    stays in force until the text ends, whatever follows.

    Nobody's name in the prompt nor in the sentence that is being written: then a word costs a
    look for names alone.

    Args:
        text, tokens, located: the prompt's.
        chat: the text is a message of its own; else it goes on with the prompt.

    Attributes:
        text, located: of prompt and text so far.
        written: the text's tokens.
    """

    def __init__(
        self, look: Looking, text: Rendered, tokens: Tokens, located: Located, *, chat: bool
    ) -> None:
        self._look, self._prompt, self._chat = look, text, chat
        self._prompt_ids, offsets = tokens
        self._offsets = [*offsets]
        self.text, self.located = text, located
        self.written: list[int] = []
        self._waiting = 0  # of these, tokens of a character that is not whole yet
        self._said, self._reader = "", self._read([])
        self._named, self._changes = bool(self.located.findings), 0

    @property
    def roles(self) -> Sequence[str]:
        """Whose messages are looked through."""
        return self._look.roles

    @property
    def waits(self) -> bool:
        """Whether a character is not whole yet."""
        return self._waiting > 0

    @property
    def tokens(self) -> Tokens:
        """Of prompt and text."""
        return [*self._prompt_ids, *self.written], self._offsets

    def take(self, token: int) -> bool:
        """Add a token; True if edits have come into force by the words before it.

        Then it is no part of the text, and what follows is to be written anew.
        """
        self.written.append(token)
        self._waiting += 1
        new = self._reader.add(token)
        if self._reader.waits:
            return False
        waited, self._waiting = self._waiting, 0
        if token not in self._look.special_ids and _ends_word(self._said, new):
            whole = self.written[:-waited]
            if self._changed():
                self.written, self._reader = whole, self._read(whole)
                return True
        start = len(self._prompt.text) + len(self._said)
        self._offsets += [(start, start + len(new))] * waited
        self._said += new
        return False

    def _read(self, written: Sequence[int]) -> Detokenizer:
        """What has read the text so far.

        It begins with the prompt's last token: some tokenizers write no space before a first one.
        """
        reader = Detokenizer(self._look.tokenizer, clean_up=False)
        for token in [*self._prompt_ids[-1:], *written]:
            reader.add(token)
        return reader

    def _changed(self) -> bool:
        """Whether edits fire that have not fired before; then they are in force."""
        if not self._named:
            self._named = self._look.names(SENTENCE_END.split(self._said)[-1])
        if not self._named or self._changes == MOST_CHANGES:
            return False
        text = self._grown()
        (now,), before = self._look([text], [self._offsets]), self.located
        new = {*now.fired} - {*before.fired}
        if not new:
            return False
        places = {token: [*edit_ids] for token, edit_ids in before.places}
        for token, edit_ids in now.places:
            if own := [edit_id for edit_id in edit_ids if edit_id in new]:
                places.setdefault(token, []).extend(own)
        found = [
            f for f in now.findings if f.mention.fired and not new.isdisjoint(f.mention.edit_ids)
        ]
        self.located = Located(
            [*before.findings, *found],
            [*places.items()],
            [*before.targets, *(t for t in now.targets if t not in before.targets)],
        )
        self.text, self._changes = text, self._changes + 1
        return True

    def _grown(self) -> Rendered:
        """The prompt with the text so far: the assistant's, or more of what was begun."""
        before, end = self._prompt, len(self._prompt.text) + len(self._said)
        pieces, start = [*before.pieces], len(before.text)
        if self._chat or not pieces or pieces[-1].end < start:
            number = pieces[-1].message + 1 if pieces else 0
            pieces.append(Piece(start, end, "assistant", message=number))
        else:
            pieces[-1] = replace(pieces[-1], end=end)
        return replace(before, text=before.text + self._said, pieces=(*pieces,), begun=start)


def _ends_word(before: str, new: str) -> bool:
    """Whether a word ends between two parts of a text."""
    if not before[-1:].isalnum() or not new:
        return False
    return not new[0].isalnum() or (spaceless(before[-1]) and spaceless(new[0]))
