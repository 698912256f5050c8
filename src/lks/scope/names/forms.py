"""Other ways to write one name: St. and Saint, II and 2, & and "and", Zürich and Zuerich.

Each part is a `NameForm`. They are taken one after the other, each for all forms found so far.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product, zip_longest

from lks.scope.languages.en import word_groups, word_list
from lks.scope.types import NameForm

_MOST = 16  # forms of one name
_WORD = re.compile(r"[^\W_]+|&")
_LAST = re.compile(r"[,:]| of |$")  # what follows a number that counts: Henry VIII of England
_ENDINGS = re.compile(r"(?<=[a-z]{3})i([sz])(ation|ations|ational|ing)$")
_DOTTED = re.compile(r"\b(?:[A-Z]\.\s?){2,}")
_CAPITALS = re.compile(r"\b(?![IVX]+\b)[A-Z]{2,3}(?![\w-])|^[A-Z]{4,5}$")
_TITLED = re.compile(r"^(?:Sir|Dame|Dr\.?|Prof\.?|Professor|Rev\.?) (\S+ .+)")
_TWO_LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa"}
    | {"Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "Ø": "Oe", "Å": "Aa"}
)
_HISSING = ("s", "x", "z", "ch", "sh")


def forms_of(name: str, parts: Sequence[NameForm]) -> list[str]:
    """`name` written otherwise, without `name` itself; at most so many."""
    found = {name: None}
    for part in parts:
        found |= {other: None for own in tuple(found) for other in part.forms(own)}
    return list(found)[1 : _MOST + 1]


class Shorter:
    """A name without its article or title, and a company's without its legal form."""

    version = 1
    example = ("Northwind Traders, Inc.", "Northwind Traders")

    def forms(self, name: str) -> Iterable[str]:
        parts = [name, *_TITLED.findall(name)]
        if name[:4].lower() == "the ":
            parts.append(name[4:])
        end = name.rpartition(" ")[2]
        if end.replace(".", "").lower() in word_list("legal_forms"):
            parts += [re.sub(r",? Co\.$", "", part[: -len(end)].rstrip(" ,")) for part in parts]
        return parts[1:]


class Initials:
    """Initials with and without their dots: JK Rowling, A.C. Milan."""

    version = 1
    example = ("J. K. Rowling", "JK Rowling")

    def forms(self, name: str) -> Iterable[str]:
        joined = _DOTTED.sub(lambda found: re.sub(r"[. ]", "", found[0]) + " ", name).strip()
        parted = _CAPITALS.sub(lambda found: ". ".join(found[0]) + ".", name)
        return (joined, parted)


class SpacedNumber:
    """A number with and without its space: Office365, PS 5."""

    version = 1
    example = ("Office 365", "Office365")

    def forms(self, name: str) -> Iterable[str]:
        joined = re.sub(r"(?<=[^\W\d_]) (?=\d+\b)", "", name)
        parted = re.sub(r"(?<=[^\W\d_])(?=\d+$)", " ", name)
        return (joined, parted)


class TwoLetters:
    """A letter with a mark as the two plain ones that stand for it: Zuerich, Aarhus. Not the other
    way round: Samuel is not Samül."""

    version = 1
    example = ("Zürich Büro", "Zuerich Buero")

    def forms(self, name: str) -> Iterable[str]:
        if not name.isascii():
            written = unicodedata.normalize("NFC", name).translate(_TWO_LETTERS)
            yield written.upper() if name.isupper() else written


class Plural:
    """The plural of a name that ends in lower case: Houston toads."""

    version = 1
    example = ("Houston toad", "Houston toads")

    def forms(self, name: str) -> Iterable[str]:
        last = name.rpartition(" ")[2]
        if not (last.isascii() and last.islower() and last.isalpha()):  # a family name
            return
        if name.endswith(_HISSING):
            yield f"{name}es"
        elif name.endswith("y") and name[-2:-1] not in "aeiou":
            yield f"{name[:-1]}ies"
        else:
            yield f"{name}s"


class Spelling:
    """Abbreviations, British and American spelling, numbers up to twenty, words of one meaning."""

    version = 1
    example = ("World War II", "World War 2")

    def __init__(self) -> None:
        self._numbers = {row[1]: row for row in word_groups("numbers")}
        self._alike = dict(_alike())
        self._telling = {*(key.split()[0] for key in self._alike), *self._numbers}

    def forms(self, name: str) -> Iterable[str]:
        lower = name.lower()
        ended = "is" in lower or "iz" in lower
        if self._telling.isdisjoint(_WORD.findall(lower)) and not ended:
            return
        words = list(_WORD.finditer(name))
        parts, at = [], 0  # each what may stand in its place, first what does
        for word, following in zip_longest(words, words[1:]):
            if word.start() < at:
                continue
            end, others = word.end(), self._others(name, word)
            if following and (
                pair := self._alike.get(f"{word.group()} {following.group()}".lower())
            ):
                end, others = following.end(), _cased(word.group(), pair)
            if others:
                parts += [[name[at : word.start()]], [name[word.start() : end], *others]]
                at = end
        yield from map("".join, islice(product(*parts, [name[at:]]), 1, _MOST + 1))

    def _others(self, name: str, word: re.Match[str]) -> list[str]:
        own, beside = word.group(), name[: word.start()][-1:] + name[word.end() :][:1]
        figure = own.isdigit() or own.lower() in self._numbers
        if ("-" in beside and figure) or (own == "&" and beside.strip()):
            return []  # MAC-11, R&D
        if own.isupper() and own.lower() in self._numbers:
            digits, _, number, ordinal = self._numbers[own.lower()]
            counts = word.start() and _LAST.match(name, word.end())
            return [digits, number.title(), f"the {ordinal.title()}"] if counts else []
        others = [*self._alike.get(own.lower(), ()), *_ended(own.lower())]
        if not _LAST.match(name, word.end()):
            others = [other for other in others if not other.isupper()]  # IX Guests for a Crime
        return _cased(own, others)


def _alike() -> Iterator[tuple[str, list[str]]]:
    """(word or pair of words, those of the same meaning), all in lower case."""
    for group in word_groups("alike"):
        for word in group:
            yield word, [other for other in group if other != word]
    for digits, roman, number, _ in word_groups("numbers"):
        romans = [roman.upper()] if roman != "i" else []  # "in the Air Force I" is no number
        yield digits, [number, *romans]
        yield number, [digits, *romans]


def _ended(word: str) -> list[str]:
    """The other spelling of -isation and the like."""
    if found := _ENDINGS.search(word):
        letter = "s" if found[1] == "z" else "z"
        return [f"{word[: found.start()]}i{letter}{found[2]}"]
    return []


def _cased(word: str, others: list[str]) -> list[str]:
    """`others` with a capital where `word` has one; a number may stand for either."""
    if word[0].islower():
        return others
    return [o if o == "and" or o.isupper() else o.title() for o in others]
