"""A name with a number, or an edition's word, behind it: Project Falcon 2, iPhone 15 Pro."""

from __future__ import annotations

import re

from lks.scope.bank.words import ENGLISH
from lks.scope.filters.trailing_name import WordBehind, capitals_tell_nothing
from lks.scope.languages.en import word_list
from lks.scope.normalizer import Doc
from lks.scope.types import Candidate

_AHEAD = 60  # characters looked at behind a name
_BEGINNING = 4  # words in which a sentence shows whether it proposes an answer: And is it 5?
# A space or the end stands behind the number; 24/7, 5%, 3:0, "2. AMD" and 2) are none.
_NUMBER = re.compile(
    r" ([1-9]\d{0,3}[a-d]?)(?:['\u2019]s\b)?(?=[,;\"'\u2019\u201d]*(?: |$)|[?!]|\.+\s*$)(?: (\S+))?"
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_WORD = re.compile(r" (\w+)(?: ([A-Z]))?")
_COUNTED = re.compile(r"(?![a-z']{2,}$).*|[a-z]{3,}s")  # %, 5 and l, nights


class Edition(WordBehind):
    """A name with a number, or an edition's word, behind it: Project Falcon 2, iPhone 15 Pro.

    Not where it stands there in the edit's own wordings; a number not where something is counted (2
    nights) or proposed (Is it 5?), nor behind a name that ends with one. Words with another meaning
    count with a capital only, and not in a title: Falcon Heavy.
    """

    version = 1
    example = ("iPhone 15", "How much is the iPhone 15 Pro Max?")

    def makes_another(self, doc: Doc, candidate: Candidate) -> bool:
        _, end = doc.span(candidate.first, candidate.last)
        text = doc.text[end : end + _AHEAD]
        if number := _NUMBER.match(text):
            return self._numbered(doc, candidate, number)
        if not (found := _WORD.match(text)):
            return False
        word = found[1]
        if word.lower() in word_list("editions"):
            # German: pro Monat
            return not word.islower() or (doc.language == ENGLISH and not found[2])
        if not word.istitle() or word.lower() not in word_list("editions_with_capital"):
            return False
        return not capitals_tell_nothing(doc, candidate)

    def _numbered(self, doc: Doc, candidate: Candidate, number: re.Match[str]) -> bool:
        if doc.words[candidate.last - 1][-1].isdigit() or _YEAR.fullmatch(number[1]):
            return False
        follows = (number[2] or "").lower().rstrip("?!.,;:")
        if follows and (
            doc.language != ENGLISH or _COUNTED.fullmatch(follows) or follows in word_list("units")
        ):
            return False
        return not _proposes(doc, candidate.first)


def _proposes(doc: Doc, word: int) -> bool:
    """Whether the sentence of a word can be answered with yes or no."""
    sentence = doc.sentence(word)
    for opening in doc.words[sentence.start : sentence.start + _BEGINNING]:
        if opening in word_list("asking"):
            return False
        if opening in word_list("proposing"):
            return True
    return False
