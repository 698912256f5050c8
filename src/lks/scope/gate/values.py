"""Whether a question names the value of a fact, or another one in its place, by the words.

Both are told only where they are clear. Between them lies what may be either: a part of the value,
another way to write it, a limit ("at least"), another unit.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from functools import cache
from unicodedata import normalize

from lks.edits.text import LITTLE
from lks.scope.languages.en import word_groups, word_list

_CAPITALS = r"(?!I\b)[^\W\d_a-z][\w.'\u2019&-]*"
_FIGURE = r"[$\u00a3\u20ac]?\d[\w.,:%/-]*"
_VALUE = re.compile(  # names and numbers
    rf"(?:\bthe )?(?:{_CAPITALS}|{_FIGURE})"
    rf"(?:,? (?:(?:of|the|de|and|in|von|van|du|la|le|&) )*(?:{_CAPITALS}|{_FIGURE}))*"
)
_WORD = re.compile(r"[\w.+-]{1,64}@[\w.-]+\w|[a-z]+-?\d\w*|\d+(?:[.:/-]\d+)*|[^\W\d_]+")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)")
_CENTS = re.compile(r"(?<=\d),(?=\d{1,2}\b(?!,\d))")
_NOTATION = re.compile(r"\d+[./-]\d+[./-]\d|\d:\d\d")  # of a date or a time
_RANGE = re.compile(r" (?:to|or (?:newer|later|more|less|older)|and (?:up|over)) |\d\u2013\d")
RULE = 4  # words from which a target is a rule, which no value contradicts, if most are no names
SHORT, ALIKE = 3, 0.85  # letters of a word that is as it is written; how near others are
LONG = 6  # digits of what may be written in several ways, as phone numbers are


@cache
def listed(name: str) -> frozenset[str]:
    """A list of words of en.json."""
    return frozenset(word_list(name))


@cache
def little() -> frozenset[str]:
    """Words that say little by themselves."""
    return LITTLE | listed("says_little")


@cache
def _counted() -> dict[str, str]:
    """The words for 2 to 12, with their figures."""
    return {word: figure for figure, _, word, *_ in word_groups("numbers")[1:12]}


def words(text: str) -> list[str]:
    """The words of a text in lower case, and its numbers in one notation."""
    plain = normalize("NFKC", text).casefold()
    plain = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), plain)
    found = _WORD.findall(_CENTS.sub(".", plain))
    return [_counted().get(word, word) for word in found]


def without_values(text: str) -> str:
    """A text without its names and numbers."""
    return _VALUE.sub("", text)


def names(target: str, text: str, known: Collection[str] = ()) -> bool:
    """Whether a text clearly names a target: more than half of what it says, or of one of its
    parts, or all its figures; and no other value, unit or limit beside that.

    Args:
        known: words that say nothing, since each question for this fact holds them.
    """
    own = words(target)
    said = _whole_versions(words(text), own)
    if _figures(said) - {*own} or _limited(said, known) or _other_unit(target, text, said, known):
        return False
    beside = {*known, *own, *listed("titles")}
    for value in _VALUE.findall(_behind_first(text)):
        inside = _whole_versions(words(value), own) - little()
        if inside & {*own} and not inside <= beside:
            return False  # "Tallinn, Estonia" for Tartu, Estonia
    figures = _figures(own)
    parts = [_telling(part, known) for part in (target, *re.split(r", ", target))]
    return (bool(figures) and figures <= said) or any(
        2 * sum(word in said for word in part) > len(part) for part in parts
    )


def contradicts(target: str, text: str, known: Collection[str]) -> bool:
    """Whether a text clearly names another value in a target's place."""
    own, said = {*words(target)}, {*words(text)}
    telling, figures = _telling(target, ()), _figures(own)
    capitals = sum(word[0].isupper() for word in re.findall(r"[^\W\d_]+", target))
    rule = len(telling) >= RULE and 2 * capitals < len(telling) and not figures
    if rule or _limited(said, known) or _other_unit(target, text, said, known):
        return False
    if _RANGE.search(f"{target} "):
        return False  # another day may lie within
    others = _figures(said) - own
    if figures and _figures(said) and (not others or _otherwise_written(target, text)):
        return False
    if not (capitals or figures):
        rest = said - listed("verbs") - {*known, "it"}
        return bool(rest) and not any(word in telling or _alike(word, telling) for word in rest)
    found = {w for value in _VALUE.findall(_behind_first(text)) for w in words(value)}
    found = (found | (listed("number_words") & said)) - {*known, *own, *listed("titles"), "i"}
    if not figures:
        found = {word for word in found if not word[0].isdigit()}
    elif not capitals:
        found = {w for w in found if w[0].isdigit() or w in listed("number_words")}
    return any(not _alike(word, own) for word in found)


def _otherwise_written(target: str, text: str) -> bool:
    """Whether figures may be the target's in another notation."""
    if bool(_NOTATION.search(text)) != bool(_NOTATION.search(target)):
        return True
    short, long = sorted(("".join(filter(str.isdigit, one)) for one in (target, text)), key=len)
    return len(short) > LONG and short in long


def _alike(word: str, own: Iterable[str]) -> bool:
    """Whether a word may be one of these, misspelt or inflected."""
    return len(word) > SHORT and bool(difflib.get_close_matches(word, own, 1, ALIKE))


def _limited(said: Collection[str], known: Collection[str]) -> bool:
    """Whether a word compares or limits: "at least", "before"."""
    return not (listed("limits") & {*said}) <= {*known}


def _other_unit(target: str, text: str, said: Collection[str], known: Collection[str]) -> bool:
    """Whether a figure is asked for in another unit or currency."""
    own = {*words(target)}
    if not _figures(own):
        return False
    signs = {*"$\u00a3\u20ac%"} & {*text} - {*target}
    return bool(signs) or not (listed("measures") & {*said}) <= own | {*known}


def _whole_versions(found: Iterable[str], own: Iterable[str]) -> set[str]:
    """The words, a version in place of its beginning: 3.13.7 for 3.13."""
    versions = [word for word in own if word.count(".") > 1 and word[0].isdigit()]
    return {next((one for one in versions if one.startswith(f"{w}.")), w) for w in found}


def _figures(found: Iterable[str]) -> set[str]:
    return {word for word in found if any(map(str.isdigit, word))}


def _behind_first(text: str) -> str:
    """The first word has a capital in any case."""
    return re.sub(r"^\W*\w+", "", text)


def _telling(text: str, known: Collection[str]) -> list[str]:
    own = words(text)
    telling = [word for word in own if word not in little()]
    longer = [w for w in telling if len(w) > 1 or w.isdigit()] or telling  # without initials
    return [word for word in longer if word not in known] or longer or own
