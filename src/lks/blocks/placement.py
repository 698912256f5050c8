"""Where in the tokens of a text a mention's block goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lks.model.offsets import Offsets, last_token
from lks.scope.types import Mention


def locate(
    mentions: Sequence[Mention], place: Callable[[int, int], tuple[int, int]], offsets: Offsets
) -> list[tuple[int, Mention]]:
    """(last token, mention) of mentions found in a part of a text.

    Args:
        place: from spans in that part to spans in the text.
        offsets: character spans of the text's tokens.
    """
    located = []
    for found in mentions:
        start, end = place(found.start, found.end)
        mention = replace(found, start=start, end=end)
        token = last_token(offsets, mention.start, mention.end)
        if token is not None:
            located.append((token, mention))
    return located
