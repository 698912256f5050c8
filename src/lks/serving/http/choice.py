"""One text as it grows: tokens in, what a client may be told of it out.

Three things hold text back: characters of several tokens, the beginning of what may become a stop
string, and white space that the chat template would not have in an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lks.serving.http.detokenizer import Detokenizer, Vocabulary
from lks.serving.protocol import Step

if TYPE_CHECKING:  # it needs torch
    from lks.model.engine.protocol import FinishReason


@dataclass(frozen=True)
class Around:
    """What a chat template puts around an answer: no part of what is said."""

    before: str = ""
    behind: str = ""
    strips: bool = False  # it takes away all white space around


@dataclass(frozen=True)
class Told:
    """A token whose log-probability is told; it begins at this character of the text."""

    step: Step
    offset: int


@dataclass(frozen=True)
class Part:
    """What a step adds to what the client has."""

    text: str = ""
    tokens: Sequence[Told] = ()
    finish: FinishReason | None = None

    def __bool__(self) -> bool:
        return bool(self.text or self.finish)


class Choice:
    """One text. After a part with `finish` it takes no more steps.

    Args:
        stops: strings that end the text, and are no part of it.
        around: of the answer in a chat; None for a plain text, which stays as it is written.

    Attributes:
        written: tokens that the model wrote for it, with those that ended it.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        stop_ids: frozenset[int],
        stops: Sequence[str] = (),
        around: Around | None = None,
    ) -> None:
        self._vocabulary, self._stop_ids, self._stops = vocabulary, stop_ids, stops
        self._detokenizer = Detokenizer(vocabulary)
        self._around = around or Around()
        self._text = ""  # all that was said, up to a stop string
        self._sent = 0  # characters of it that the client has, or that were taken away
        self._begun = around is None
        self._tokens: list[Told] = []  # not told yet
        self.written = 0

    def take(self, step: Step) -> Part:
        """What one more step lets out."""
        self.written += 1
        start, finish = len(self._text), step.finish
        if not (step.token in self._stop_ids and finish == "stop"):
            self._text += self._detokenizer.add(step.token)
            self._tokens.append(Told(step, start))
        if finish:
            self._text += self._detokenizer.end()
        cut = self._stop_at(start)
        if cut is not None:
            finish, self._text = "stop", self._text[:cut]
            self._tokens = [told for told in self._tokens if told.offset < cut]
        return self._let_out(finish, stopped=cut is not None)

    def _stop_at(self, start: int) -> int | None:
        """Where a stop string begins of which a part is new: the text ends there."""
        found = [
            at
            for stop in self._stops
            if (at := self._text.find(stop, max(self._sent, start - len(stop) + 1))) >= 0
        ]
        return min(found, default=None)

    def _let_out(self, finish: FinishReason | None, *, stopped: bool) -> Part:
        if not self._begun and not self._begin(last=finish is not None):
            return Part()
        end = len(self._text) if finish else self._safe()
        if finish:
            end = self._without_end(end)
        text = self._text[self._sent : end]
        self._sent = max(end, self._sent)
        if not text and not finish:
            return Part()
        told = [t for t in self._tokens if finish or t.offset < end]
        self._tokens = self._tokens[len(told) :]
        return Part(text, told, finish)

    def _begin(self, *, last: bool) -> bool:
        """Take away what stands before an answer; False while that is not clear."""
        before = self._around.before
        if not last and len(self._text) < len(before) and before.startswith(self._text):
            return False
        at = len(before) if self._text.startswith(before) else 0
        if self._around.strips:
            at = len(self._text) - len(self._text.lstrip())
            if at == len(self._text) and not last:
                return False
        self._sent, self._begun = max(self._sent, at), True
        return True

    def _safe(self) -> int:
        """Up to where the text is no beginning of a stop string, nor of what ends an answer."""
        text, end = self._text, len(self._text)
        held = max((_overlap(text, stop[:-1]) for stop in self._stops), default=0)
        held = max(held, _overlap(text, self._around.behind))
        if self._around.strips:
            held = max(held, len(text) - len(text.rstrip()))
        return max(self._sent, end - held)

    def _without_end(self, end: int) -> int:
        if self._around.strips:
            return max(self._sent, len(self._text.rstrip()))
        behind = self._around.behind
        ends = behind and self._text.endswith(behind)
        return max(self._sent, end - len(behind)) if ends else end


def _overlap(text: str, part: str) -> int:
    """How many of the last characters of a text are the first ones of another."""
    sizes = range(min(len(part), len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(part[:size])), 0)
