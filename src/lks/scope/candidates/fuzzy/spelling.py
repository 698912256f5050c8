"""Rules that tell a misspelt name from another word."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import OSA

from lks.scope.candidates.fuzzy.deletion_index import SMALLEST
from lks.scope.languages.en import CommonWords, is_stopword
from lks.scope.normalizer import ALIKE
from lks.scope.types import Reason

_SUPPORT, _MUCH_SUPPORT = 5, 8  # letters of words that are right, where another is doubtful
_CODE = 3  # letters of a word that may be a model's code
_BRIEF = 7  # letters of a name that is told by its first letter
_GENERATIONS = {"jr", "sr", "junior", "senior"}
_ROMAN = re.compile(r"[ivxlcdm]{1,6}")

_Change = tuple[Sequence[str], Sequence[str]]  # words of the text, and the name's in their place


def _two_forms(one: str, other: str) -> bool:
    """Whether a word is another's feminine form, as first names have it."""
    if one in (other + "a", other + "e", other + "i", other + "ke"):
        return True
    return one[:-1] == other[:-1] and {one[-1:], other[-1:]} <= set("aei")


def allowed(letters: int, *, foreign: bool = False) -> int:
    """How many edits a name with this many letters may have.

    Transliterated names may have one more where they are long: alphabets differ in their sounds.
    """
    if letters < SMALLEST:
        return 0
    if letters < 12:
        return 1
    return 3 if foreign else 2


@dataclass(frozen=True, slots=True)
class _Kept:
    """The words that text and name share."""

    letters: int
    told: bool  # one of them is no everyday word: it tells the name by itself
    nothing: bool  # at most articles, prepositions and numbers

    @property
    def support(self) -> bool:
        return self.told and self.letters >= _SUPPORT


class Misspelling:
    """Words of a text held against the words of a name.

    `edits` counts letters, and spaces that were lost or added; `support` the letters in favour.

    Args:
        edits: by which their letters differ.
        foreign: the text was transliterated.
    """

    def __init__(
        self, text: Sequence[str], name: Sequence[str], edits: int, foreign: bool = False
    ) -> None:
        self._text, self._name, self._foreign = text, name, foreign
        self._changed = self._changes(edits)
        self.edits = edits + sum(abs(len(ours) - len(meant)) for ours, meant in self._changed)
        self._letters = sum(map(len, name))
        self.support = self._letters - 2 * self.edits
        self.score = max(0.0, 1 - (self.edits + foreign) / max(self._letters, 1))

    def _changes(self, edits: int) -> list[_Change]:
        """The stretches that differ: word by word, or from the first to the last that does."""
        text, name = self._text, self._name
        if len(text) == len(name):
            changed = [(a, b) for a, b in zip(text, name, strict=True) if a != b]
            if self._foreign or sum(OSA.distance(a, b) for a, b in changed) <= edits:
                return [([a], [b]) for a, b in changed]
        start = end = 0
        most = min(len(text), len(name))
        while start < most and text[start] == name[start]:
            start += 1
        while end < most - start and text[-1 - end] == name[-1 - end]:
            end += 1
        return [(text[start : len(text) - end], name[start : len(name) - end])]

    def refusal(self, common: CommonWords, known: Container[str]) -> Reason | None:
        """Why the text does not mean the name; None if it does.

        Args:
            common: words that stand for themselves.
            known: words of names.
        """
        if self.edits > allowed(self._letters, foreign=self._foreign):
            return Reason.TOO_FAR
        if sum(len(word) for word in self._name if not is_stopword(word)) < SMALLEST:  # The Who
            return Reason.SHORT
        kept = list(self._text)
        for ours, _ in self._changed:
            for word in ours:
                kept.remove(word)
        told = any(len(word) >= 4 and word not in common for word in kept)
        rest = _Kept(sum(map(len, kept)), told, all(map(is_stopword, kept)))
        for ours, meant in self._changed:
            reason = self._other_word(ours, meant, rest, common)
            if reason is None and not self._foreign:
                reason = self._own_word(ours, meant, rest, common, known)
            if reason:
                return reason
        return None

    def _other_word(
        self, ours: Sequence[str], meant: Sequence[str], rest: _Kept, common: CommonWords
    ) -> Reason | None:
        """Whether the letters show that something else is meant: a number, an initial, a form."""
        word, own = "".join(ours), "".join(meant)
        if any(map(str.isdigit, word + own)):
            return Reason.NUMBER
        if self._foreign:
            same = word[:1].translate(ALIKE) == own[:1].translate(ALIKE)
            return None if same else Reason.FIRST
        if len(ours) != len(meant):
            return None
        if _ROMAN.fullmatch(word) and _ROMAN.fullmatch(own):
            return Reason.NUMBER
        if {word, own} <= _GENERATIONS:
            return Reason.GENERATION
        if len(word) == len(own) == 1:
            return Reason.INITIAL
        if word == own + "s" and not self._possessive(own, rest, common):
            return Reason.FORM
        if len(self._name) == 1 and len(own) <= _BRIEF and word[1:] == own[1:]:
            return Reason.FIRST
        return None

    def _possessive(self, own: str, rest: _Kept, common: CommonWords) -> bool:
        """Whether an "s" more is an apostrophe less: "Yvan Attals birthplace".

        That is at the end of a name of several words of which one tells who is meant.
        """
        several = sum(not is_stopword(word) for word in self._name) > 1
        told = rest.told or (len(own) >= 4 and own not in common)
        return several and own == self._name[-1] and told

    def _own_word(
        self,
        ours: Sequence[str],
        meant: Sequence[str],
        rest: _Kept,
        common: CommonWords,
        known: Container[str],
    ) -> Reason | None:
        """Whether the text's words mean what they say."""
        if len(ours) == len(meant) == 1:
            (word,), (own,) = ours, meant
            code = all(
                len(w) <= _CODE and w not in common and not is_stopword(w) for w in (word, own)
            )
            if code and own == self._name[-1] and len(word) == len(own):
                return Reason.SHORT  # Golf GTE is no Golf GTI
            if own == self._name[0] and len(self._name) > 1 and _two_forms(word, own):
                return Reason.FORM  # Christiane Lindner
        short = min(len("".join(ours)), len("".join(meant))) <= 2
        needed = _SUPPORT if rest.told or all(map(is_stopword, meant)) else _MUCH_SUPPORT
        if short and rest.letters < needed:
            return Reason.SHORT
        if rest.nothing and all(map(common.english, ours)):
            return Reason.COMMON
        if all(word in common for word in ours):
            # Two first names, as Christian and Christina, are never each other's misspelling.
            swapped = len(self._name) <= 2 and all(word in common for word in meant)
            return Reason.COMMON if swapped or not rest.support else None
        other = all(word in known or word in common for word in ours)
        if other and not short and not rest.told:
            return Reason.OTHER_NAME
        return None
