"""What else stands in a text may silence an edit whose question is asked there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from lks.edits.edit import Edit
from lks.scope.gate.questions import asks_on, goes_on, without_hearsay
from lks.scope.normalizer import BETWEEN, PARTED, Doc, normalise
from lks.scope.types import Named, Reason

BEFORE, ANSWER = 200, 2_000  # characters around an entity in which the text may state its fact


class OfEachEdit:
    """What it knows is of each edit alone: it need not be made anew when others go."""


class NegativePhrase(OfEachEdit):
    """One of the edit's `negative` phrases stands in the text: "Paris Hilton" for Paris."""

    version, reason = 1, Reason.REFUSED
    example = ("Paris Hilton", "Where was Paris Hilton born?")

    def fit(self, edits: Sequence[Edit]) -> Self:
        self._phrases = {
            edit.id: [normalise(text).folded for text in edit.negative]
            for edit in edits
            if edit.negative
        }
        return self

    def silenced(self, doc: Doc, named: Sequence[Named]) -> set[str]:
        fired = {edit_id for own in named for edit_id in own.fired}
        return {e for e in fired if any(map(doc.holds, self._phrases.get(e, ())))}


class Answered(OfEachEdit):
    """The text states the fact, and then asks the entity something else: "Where is it? Rome. How
    tall is it?"."""

    version, reason = 2, Reason.ANSWERED
    example = ("Rome", "Where is the Eiffel Tower? Rome. How tall is it?")

    def fit(self, edits: Sequence[Edit]) -> Self:
        self._targets = _targets(edits)
        return self

    def silenced(self, doc: Doc, named: Sequence[Named]) -> set[str]:
        found = set()
        for own in named:
            if not own.sentences or not asks_on(own.sentences[-1]):
                continue
            first = own.mentions[0]
            start = max(first.start - BEFORE, 0)
            answer = without_hearsay(doc.text[start : first.end + ANSWER])
            earlier = (d for d in own.decisions if d.fired and d.sentence != own.sentences[-1])
            found |= {d.edit_id for d in earlier if _stands(self._targets.get(d.edit_id), answer)}
        return found


class LaterTurn(OfEachEdit):
    """The last turn of a chat is about something else, whatever the answer was before: "Who runs
    Intel? I do not know. What is 7 factorial?". A doubt asks again, and so does "In one word"."""

    version, reason = 1, Reason.LATER_TURN
    example = ("Rome", f"Where is the Eiffel Tower?{BETWEEN}Paris.{BETWEEN}What is 7 factorial?")

    def fit(self, edits: Sequence[Edit]) -> Self:
        return self

    def silenced(self, doc: Doc, named: Sequence[Named]) -> set[str]:
        at = doc.text.rfind(BETWEEN)
        if at < 0:
            return set()
        turn = doc.text[at + len(BETWEEN) :]
        asks = asks_on(PARTED.split(turn.strip())[-1])
        if not (asks or goes_on(turn)):
            return set()
        found = set()
        for own in named:
            if not asks and own.mentions[-1].start > at:  # the entity is told more exactly
                continue
            begin = dict(zip(own.sentences, own.begins, strict=True))  # of equal ones the last
            found |= {
                d.edit_id for d in own.decisions if d.fired and begin.get(d.sentence, at) < at
            }
        return found


class Stated(OfEachEdit):
    """The text states the fact, and then asks about another edited entity.

    Of two blocks in one text each would disturb what the other makes the model say.
    """

    version, reason = 1, Reason.STATED
    example = ("Oslo", "Ada Lovelace was born in Oslo. Where was Bob Ray born?")

    def fit(self, edits: Sequence[Edit]) -> Self:
        self._targets = _targets(edits)
        return self

    def silenced(self, doc: Doc, named: Sequence[Named]) -> set[str]:
        fired = [[m for m in own.mentions if own.fired & set(m.edit_ids)] for own in named]
        lasts = sorted(((own[-1].start, i) for i, own in enumerate(fired) if own), reverse=True)
        found = set()
        for i, own in enumerate(named):
            if not own.sentences:  # no gate: every mention fires
                continue
            end = own.mentions[-1].end
            last = next((start for start, other in lasts[:2] if other != i), 0)
            between = doc.text[end : min(last, end + ANSWER)]
            if between:
                found |= {e for e in own.fired if _stands(self._targets.get(e), between)}
        return found


def _targets(edits: Sequence[Edit]) -> dict[str, str]:
    """What facts say; a profile's text is no answer."""
    return {edit.id: edit.target for edit in edits if not edit.profile_of}


def _stands(phrase: str | None, text: str) -> bool:
    """Whether the words of a phrase stand in a text, one after the other."""
    return phrase is not None and normalise(text).holds(normalise(phrase).folded)
