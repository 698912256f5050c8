"""Sentences that rule an edit out, near as they are: denials, questions about somebody else.

Embeddings hardly tell "Where was the CEO of it born?" from "Who is the CEO of it?".
"""

from __future__ import annotations

import re

from lks.edits.edit import Edit
from lks.scope.gate.questions import MASK, WINDOW
from lks.scope.types import Reason

_VERB = r"(?:am|is|are|was|were|do|does|did|has|have|had|ca|can|could|will|wo|would|should|must)"
_DENIAL = re.compile(
    rf"\b{MASK}\b.*(?<!\bI )(?<!\bwe )(?<!\byou )"  # whoever speaks may not know
    rf"\b{_VERB}(?: (?:not|never|no longer)|n['\u2019]t|not)\b"
    r"(?! (?:only|just|merely|simply|know|remember|recall)\b)"
    rf"(?!.*(?:[,;:?]|\b(?:and|but|or|which|who|that|{_VERB})\b))"  # nothing else follows
    rf"|\b{MASK}\b.*(?<!\bor) (?:not|never|no longer)$",  # or the text breaks off there
    re.IGNORECASE | re.DOTALL,
)
_KIN = (
    r"(?:ex-|half-|twin )?"
    r"(?:(?:grand|step|god)?(?:mother|father|parent|son|daughter|child|children)|mum|mom|dad"
    r"|grandma|grandpa|wife|wives|husband|spouse|fianc[e\u00e9]e?|kid|twin|brother|sister|sibling"
    r"|uncle|aunt|nephew|niece|cousin|widow|girlfriend|boyfriend)s?(?:-in-law)?"
)
_BE = r"(?:is|are|was|were)"
_ABOUT_KIN = re.compile(  # "Who is it's father?" and "it's father is" ask for the relative itself
    rf"\b(?:{MASK}['\u2019]s?(?: [\w-]+){{0,2}} {_KIN}|{_KIN} of {MASK})\b "
    rf"(?:(?!{_BE}\b|who\b|whom\b|tongue|language|cit|compan|organi|figure)\w"
    rf"|{_BE} (?!who|whom|what|called|named|known|the\b)\w)",
    re.IGNORECASE,
)
_OF_KIN = re.compile(
    rf"\b(?:{_KIN}|family|marr\w+|wed\w*|partner|fathered|born to|birth to|[pm]aternal)\b",
    re.IGNORECASE,
)
_OFFICE = (  # what one holds after the other
    r"(?:CEO|CFO|CTO|chief executive(?: officer)?|chair\w*|president|prime minister|minister|mayor"
    r"|governor|chancellor|king|queen|head|leader|owner|coach|manager|captain)"
)
_ROLE = rf"(?:{_OFFICE}|director|founder|author|writer|composer|inventor|designer|architect)"
_ANOTHER = re.compile(
    rf"\b(?:former|previous|next|first|second|third|last|deputy|vice|acting|interim|original|future)"
    rf"[- ](?:ever )?{_ROLE}\b",
    re.IGNORECASE,
)
_IN_A_YEAR = re.compile(
    rf"^(?!.*\b(?:elected|appointed|named|chosen)\b)"
    rf"(?:(?=.*\b(?:was|were|had)\b)(?=.*\b(?:{_OFFICE} (?:of|at|for|in) (?:the )?{MASK}"
    rf"|{MASK}['\u2019]s (?:[\w-]+ )?{_OFFICE})\b)"
    rf"|(?=.*\bwho (?:led|ran|headed|governed|managed|coached|owned|ruled) (?:the )?{MASK}\b))"
    r".*(?<!ed )(?<!born )(?<!built )\b(?:in|before|until|during|around) (?:the )?"
    r"(?:early |late |mid-)?(?:1\d|20)\d\d(?:['\u2019]?s)?\b",
    re.IGNORECASE | re.DOTALL,
)


def _of_it(role: str) -> str:
    return rf"(?:the (?:[\w-]+ ){{0,2}}{role} of {MASK}|{MASK}['\u2019]s (?:[\w-]+ )?{role})\b"


_ABOUT_HOLDER = re.compile(  # not "Where do I find who the CEO of it is?"
    rf"\b(?:where|when|why|how (?:old|tall|rich|long|much|many))\b"
    rf"(?:(?!\b(?:who|names?)\b)[^.?!])*\b{_of_it(_ROLE)}(?!.*\b(?:called|named)\b)"
    r"|(?<!\bname )(?<!\bnames )"
    r"\b(?:of|in|against|with|before|after|succeed\w*|replac\w*|did|does) "
    rf"{_of_it(f'(?:{_ROLE}|capital)')}",
    re.IGNORECASE,
)


def denies(sentence: str) -> bool:
    """Whether a masked sentence says of the entity what is not so: "it was not born in"."""
    return len(sentence) <= WINDOW and _DENIAL.search(sentence) is not None


def about_kin(sentence: str) -> bool:
    """Whether a masked sentence asks about a relative of the entity: "Where was it's son born?"."""
    return _ABOUT_KIN.search(sentence) is not None


def of_kin(text: str) -> bool:
    """Whether a text speaks of a relative at all."""
    return _OF_KIN.search(text) is not None


def another_holder(sentence: str) -> bool:
    """Whether a masked sentence asks for another holder of an office: "the previous CEO of it",
    "Who was the CEO of it in 2005?"."""
    if _ANOTHER.search(sentence):
        return True
    return len(sentence) <= WINDOW and _IN_A_YEAR.search(sentence) is not None


def about_holder(sentence: str) -> bool:
    """Whether a masked sentence asks something about who holds an office, and not who does."""
    return _ABOUT_HOLDER.search(sentence) is not None


def _wordings(edit: Edit) -> list[str]:
    """The edit's own wordings, its name masked."""
    return [text.replace(edit.subject, MASK) for text in (edit.prompt, *edit.paraphrases)]


class Denial:
    """A sentence that says what is not so: "it is not in". A question does ask."""

    version, reason = 1, Reason.DENIED
    example = ("it", "it is not in")

    def says(self, sentence: str) -> bool:
        return denies(sentence)

    def exempts(self, edit: Edit) -> bool:
        return denies(_wordings(edit)[0])


class Relative:
    """A question about a relative of the entity: "Where was it's mother born?"."""

    version, reason = 1, Reason.RELATIVE
    example = ("it", "Where was it's mother born?")

    def says(self, sentence: str) -> bool:
        return about_kin(sentence)

    def exempts(self, edit: Edit) -> bool:
        return any(map(of_kin, _wordings(edit)))


class AnotherHolder:
    """A question for another holder of an office: "the previous CEO of it", "in 2005"."""

    version, reason = 1, Reason.ANOTHER_HOLDER
    example = ("it", "Who was the CEO of it in 2005?")

    def says(self, sentence: str) -> bool:
        return another_holder(sentence)

    def exempts(self, edit: Edit) -> bool:
        return any(map(another_holder, _wordings(edit)))


class AboutHolder:
    """A question about who holds an office: "Where was the CEO of it born?"."""

    version, reason = 1, Reason.ABOUT_HOLDER
    example = ("it", "Where was the CEO of it born?")

    def says(self, sentence: str) -> bool:
        return about_holder(sentence)

    def exempts(self, edit: Edit) -> bool:
        return any(map(about_holder, _wordings(edit)))
