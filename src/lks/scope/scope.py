"""The edit scope: which edits a text triggers, and where.

So far the matcher decides alone: an edit fires wherever its entity is named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lks.edits import Edit
from lks.positions import Offsets, last_token
from lks.scope.matcher import Matcher, Mention


class Scope:
    """Text in, mentions out. Cheap to build, never changed: make a new one for other edits."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        self._matcher = Matcher(edits)

    def mentions(self, text: str) -> list[Mention]:
        """Every mention in `text`, in order; those with `fired` take part in an edit."""
        return self._matcher(text)

    def fired(self, text: str) -> list[Mention]:
        """The mentions whose edits apply."""
        return [mention for mention in self.mentions(text) if mention.fired]

    def locate(
        self, text: str, start: int, end: int, offsets: Offsets
    ) -> list[tuple[int, Mention]]:
        """(last token, mention) of the mentions that fire inside text[start:end].

        `offsets` are the character spans of the whole text's tokens, and so are the mentions'.
        """
        located = []
        for found in self.fired(text[start:end]):
            mention = replace(found, start=found.start + start, end=found.end + start)
            token = last_token(offsets, mention.start, mention.end)
            if token is not None:
                located.append((token, mention))
        return located
