"""Reasons as sentences for people."""

from __future__ import annotations

from collections.abc import Mapping

from lks.scope.types import Reason

SENTENCES: Mapping[Reason, str] = {
    Reason.NAMED: "its entity is named",
    Reason.ASKED: "its relation is asked",
    Reason.OPENED: "open-ended request",
    Reason.NOT_OPENED: "no open-ended request",
    Reason.PROFILED: "open-ended request: the profile answers",
    Reason.UNPROFILED: "open-ended request, and no profile in force",
    Reason.BELOW: "below the threshold",
    Reason.NEARER: "another edit of the entity is nearer",
    Reason.LATER: "a later sentence asks for another edit of the entity",
    Reason.NEGATIVE: "nearer to a negative",
    Reason.REFUSED: "a negative phrase stands in the text",
    Reason.DENIED: "the sentence says what is not so",
    Reason.CONTRAST: "the sentence asks for something else of a kind",
    Reason.NARROWED: "the sentence asks for a narrower thing",
    Reason.ANSWERED: "the text states it, and then asks something else",
    Reason.LATER_TURN: "a later turn of the chat is about something else",
    Reason.STATED: "the text states it, and then asks about another entity",
    Reason.LONGER: "a part of a longer name",
    Reason.TWO_FIT: "two names fit",
    Reason.CASE: "in another case",
    Reason.FAR: "perhaps its name in other words or another case, but its edits ask otherwise",
    Reason.TOO_FAR: "too far",
    Reason.NUMBER: "another number",
    Reason.SHORT: "a short word differs",
    Reason.FIRST: "another first letter",
    Reason.FORM: "another form of the word",
    Reason.GENERATION: "another generation",
    Reason.INITIAL: "another initial",
    Reason.COMMON: "a common word",
    Reason.OTHER_NAME: "a word of another name",
    Reason.OWN_PART: "a part of your own refuses it",
}
