"""Other ways to write one name: St. and Saint, II and 2, & and "and", Organisation with a z."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, product, zip_longest

_MOST = 16  # variants of one name
_WORD = re.compile(r"[^\W_]+|&")
_LAST = re.compile(r"[,:]| of |$")  # what follows a number that counts: Henry VIII of England
_LEGAL_FORMS = {"inc", "incorporated", "ltd", "limited", "llc", "llp", "plc", "corp", "corporation"}
_LEGAL_FORMS |= {"gmbh", "ag", "kg", "se", "sa", "nv", "oy"}
# In digits, Roman and words, and the ordinal.
_NUMBERS = """
1 i one first
2 ii two second
3 iii three third
4 iv four fourth
5 v five fifth
6 vi six sixth
7 vii seven seventh
8 viii eight eighth
9 ix nine ninth
10 x ten tenth
11 xi eleven eleventh
12 xii twelve twelfth
13 xiii thirteen thirteenth
14 xiv fourteen fourteenth
15 xv fifteen fifteenth
16 xvi sixteen sixteenth
17 xvii seventeen seventeenth
18 xviii eighteen eighteenth
19 xix nineteen nineteenth
20 xx twenty twentieth
"""
# Abbreviations, spellings, and words of one meaning in names; a line is one word.
_ALIKE = """
& = and
st = saint
mt = mount
ft = fort
dr = doctor
jr = junior
sr = senior
co = company
corp = corporation
bros = brothers
dept = department
intl = international
vs = versus
ave = avenue
tv = television
centre = center
theatre = theater
metre = meter
fibre = fiber
harbour = harbor
colour = color
colours = colors
labour = labor
honour = honor
favourite = favorite
neighbour = neighbor
neighbours = neighbors
neighbourhood = neighborhood
armour = armor
rumour = rumor
behaviour = behavior
defence = defense
offence = offense
programme = program
jewellery = jewelry
aeroplane = airplane
catalogue = catalog
travellers = travelers
movie = film
car = automobile
contest = competition
oblast = region
railway station = train station = rail station
power station = power plant
football team = soccer team
football club = soccer club
"""
_ENDINGS = re.compile(r"(?<=[a-z]{3})i([sz])(ation|ations|ational|ing)$")
_DOTTED = re.compile(r"\b(?:[A-Z]\.\s?){2,}")
_CAPITALS = re.compile(r"\b(?![IVX]+\b)[A-Z]{2,3}(?![\w-])|^[A-Z]{4,5}$")
_TITLED = re.compile(r"^(?:Sir|Dame|Dr\.?|Prof\.?|Professor|Rev\.?) (\S+ .+)")
_HISSING = ("s", "x", "z", "ch", "sh")


class Variants:
    """`variants(name)`: the same name, written otherwise, without `name` itself."""

    def __init__(self) -> None:
        self._numbers = {line.split()[1]: line.split() for line in _lines(_NUMBERS)}
        self._alike = dict(_alike())
        self._telling = {*(key.split()[0] for key in self._alike), *self._numbers}

    def __call__(self, name: str) -> list[str]:
        found = [name, *_shorter(name), *_initials(name), *_numbered(name)]
        found += [other for own in found for other in self._rewritten(own)]
        last = name.rpartition(" ")[2]
        if last.isascii() and last.islower() and last.isalpha():  # Houston toad, no family name
            found.append(_plural(name))
        return list(dict.fromkeys(found))[1 : _MOST + 1]

    def _rewritten(self, name: str) -> Iterator[str]:
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
    for line in _lines(_ALIKE):
        group = line.split(" = ")
        for word in group:
            yield word, [other for other in group if other != word]
    for line in _lines(_NUMBERS):
        digits, roman, number, _ = line.split()
        romans = [roman.upper()] if roman != "i" else []  # "in the Air Force I" is no number
        yield digits, [number, *romans]
        yield number, [digits, *romans]


def _lines(table: str) -> list[str]:
    return table.strip().splitlines()


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


def _shorter(name: str) -> list[str]:
    """`name` without its article or title, and without the legal form of a company."""
    parts = [name, *_TITLED.findall(name)]
    if name[:4].lower() == "the ":
        parts.append(name[4:])
    end = name.rpartition(" ")[2]
    if end.replace(".", "").lower() in _LEGAL_FORMS:
        parts += [re.sub(r",? Co\.$", "", part[: -len(end)].rstrip(" ,")) for part in parts]
    return parts[1:]


def _initials(name: str) -> Iterator[str]:
    """ "JK Rowling" for "J. K. Rowling", and "A.C. Milan" for "AC Milan"."""
    joined = _DOTTED.sub(lambda found: re.sub(r"[. ]", "", found[0]) + " ", name).strip()
    if joined != name:
        yield joined
    parted = _CAPITALS.sub(lambda found: ". ".join(found[0]) + ".", name)
    if parted != name:
        yield parted


def _numbered(name: str) -> Iterator[str]:
    """ "Office365" for "Office 365", and "PS 5" for "PS5"."""
    joined = re.sub(r"(?<=[^\W\d_]) (?=\d+\b)", "", name)
    parted = re.sub(r"(?<=[^\W\d_])(?=\d+$)", " ", name)
    yield from (other for other in (joined, parted) if other != name)


def _plural(name: str) -> str:
    if name.endswith(_HISSING):
        return f"{name}es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"
