"""The sentences of a text that may ask about an entity: the one that names it, and what follows."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from sentencex import get_sentence_boundaries

from lks.edits.text import encodable

MASK = "it"  # stands for the entity, so that only the question is compared
REACH = 32  # sentences looked at for one entity: the first that names it, and the last ones
WINDOW = 400  # characters kept on either side of the mentions in a sentence without an end

_NAMES = re.compile(
    r"[a-z,;] (?!I\b)[A-Z][a-z]"  # a capital within a sentence
    # BMW, the U.S., eBay; "What is it in USD?" names nobody
    r"|\b(?:of|at|for|from|runs|owns|leads|founded|does|did|was|were) (?:the )?"
    r"(?:[A-Z]{2,}|[A-Z]\.[A-Z]|[a-z]+[A-Z])"
    r"|^(?!(?:It|That|This|What|Who|He|She|Here|There|Where|When|How|Let|Today)['\u2019])"
    r"[A-Z]\w*['\u2019]s "
    r"|\b(?:of|at|from|runs|owns|leads) (?:my|our|your) \w"  # not "for my essay", "in your view"
)
_NOW = re.compile(r"\bthis (?:year|month|week|season|morning|evening|time|century)\b", re.I)
_REFERS = re.compile(
    r"\b(?:he|she|it|they|him|her|hers|his|its|their|theirs|them|there|this|that"
    r"|er|sie|ihn|ihm|ihre?[mnrs]?|seine?[mnrs]?|dort|elle|lui|leur|ella|él|ellos|suo|sua)\b",
    re.IGNORECASE,
)
_DOUBTS = re.compile(
    r"(?:\w+,? ){0,2}(?:really|sure|seriously|honestly|why|how come|what|pardon)\W*"
    r"|(?:\w+,? ){0,2}(?:is|was) (?:that|this|it)(?: really)? (?:right|so|true|correct|certain)\b.*"
    r"|(?:\w+,? ){0,2}(?:can|could) (?:that|this|it) (?:really )?be(?: right| so| true)?\W*"
    r"|.*\b(?:are you|did you|do you (?:think|mean|believe)|how do you know|you (?:say|said|sure)"
    r"|what makes you|who says|who said|can you (?:confirm|check|repeat|verify)"
    r"|wrong|outdated|out of date|up to date|mistaken|not (?:right|true|correct))\b.*",
    re.IGNORECASE | re.DOTALL,
)
_HEARD = re.compile(  # what somebody did or was told, not an answer
    r"[^.?!\n]*\b(?:(?:I|we)(?:['\u2019]ve| have| had)? "
    r"(?:bought|paid|ordered|got|read|heard|wrote|met|saw|found)"
    r"|my \w+ (?:bought|paid|ordered|said)|told me|was told|were told)\b[^.?!\n]*",
    re.IGNORECASE,
)
_AGAIN = re.compile(
    r"\b(?:again|once more|repeat|in (?:one|a|two|few|other) words?|in short|briefly|shorter"
    r"|come on|(?:just|only) (?:the|give|tell|say|that)|i (?:mean|meant|asked)"
    r"|check|sure|correct|wrong)\b"
    r"|^\W*(?:yes|yeah|yep|no|nope|ok(?:ay)?|well|please|tell me|answer(?: me)?|go on)\W*$",
    re.IGNORECASE,
)
_BEGUN = re.compile(r"(?:it|he|she|they|this|that)\b[^.!?]*", re.IGNORECASE)
_ELLIPTIC = re.compile(
    rf"(?:(?:and|but|or|so|ok(?:ay)?|then|what about|how about),?\s+)*"
    rf"(?:(?:of|for|in|with|to|at)\s+)?(?-i:{MASK})(?:,? (?:then|too))?\s*\?",
    re.IGNORECASE,
)
_SOMEBODY = re.compile(
    r"(?<=[a-z,] )(?:the )?[A-Z][\w.-]*(?: (?:(?:of|the|de|van|von|and) )*[A-Z][\w.-]*)*"
)
_TURNS_TO = re.compile(  # And Memcached, how much is it?
    r"(?i:and|but|or|what about|how about)(?: (?i:of|for|at|in|with))? (?!I\b)[A-Z][\w ]*, "
)
_CLAUSE = re.compile(r",? (?:and|but) (?=(?:what|whose?|whom|where|when|how|which|why)\b)", re.I)
_WHOLE = 3  # words of a clause that may be asked alone
_NAME = r"[A-Z][\w.&'-]*(?: [A-Z][\w.&'-]*)*"
_LISTED = re.compile(  # Nike, it and Puma; Nike and it; Nike, it, Puma
    rf"(?:{_NAME}, )*\b{MASK}(?:, {_NAME})*,? (?:and|or|&) {_NAME}"
    rf"|{_NAME}(?:, {_NAME})*,? (?:and|or|&) {MASK}\b"
    rf"|(?:{_NAME}, )+{MASK}(?:, {_NAME})+"
)
_QUOTED = re.compile(r"[\"'\u201c\u2018\u00ab\u201e]\w")
_ARTICLE = re.compile(r"\bthe\s+$", re.IGNORECASE)

Span = tuple[int, int]


class Sentences:
    """The sentences of a text; none ends inside a mention.

    Args:
        mentions: character spans of all mentions of edited entities, in order.
    """

    def __init__(self, text: str, mentions: Sequence[Span]) -> None:
        self._text, self._ends = text, _ends(text, mentions)
        self._naming = self._by_sentence(mentions)
        self._unnamed = [i for i in range(len(self._ends)) if i not in self._naming]

    def asking(self, own: Sequence[Span]) -> list[tuple[int, str]]:
        """(where it begins, sentence) of those from an entity's first mention on, its mentions
        masked.

        A later sentence that names only others, edited or not, is about them and is left out. In
        place of "And Ada?" stands the question before it.

        Args:
            own: spans of the entity's mentions, in order.
        """
        naming = self._by_sentence(own)
        after = bisect_left(self._unnamed, min(naming))
        later = self._unnamed[max(after, len(self._unnamed) - REACH) :]
        later = [number for number in later if not _about_others(self._masked(number, ()))]
        chosen = sorted([*naming, *later])
        if len(chosen) > REACH:
            chosen = [chosen[0], *chosen[1 - REACH :]]
        masked = [self._masked(number, naming.get(number, ())) for number in chosen]
        for place, number in enumerate(chosen):
            if _ELLIPTIC.fullmatch(masked[place]):
                masked[place] = self._asked_before(number) or masked[place]
        begins = [self._ends[number - 1] if number else 0 for number in chosen]
        pairs = zip(begins, masked, strict=True)
        return [(at, sentence) for at, sentence in pairs if any(map(str.isalnum, sentence))]

    def before(self, begin: int) -> str:
        """The sentence before the one that begins there; empty before the first."""
        number = bisect_left(self._ends, begin)
        return self._masked(number, ()) if begin else ""

    def _asked_before(self, number: int) -> str | None:
        """The nearest question before a sentence that asks of somebody, who is masked."""
        for earlier in range(number - 1, max(number - REACH, 0) - 1, -1):
            asked, named = self._masked(earlier, self._naming.get(earlier, ())), 1
            if earlier not in self._naming:
                asked, named = _SOMEBODY.subn(MASK, asked, count=1)
            if named and asked.endswith("?") and not _ELLIPTIC.fullmatch(asked):
                return asked
        return None

    def _by_sentence(self, mentions: Sequence[Span]) -> dict[int, list[Span]]:
        """Mentions by the sentence in which they begin."""
        found: dict[int, list[Span]] = {}
        for span in mentions:
            found.setdefault(self._number(span), []).append(span)
        return found

    def _number(self, span: Span) -> int:
        """Of the sentence in which a mention begins."""
        return bisect_right(self._ends, span[0])

    def _masked(self, number: int, mentions: Sequence[Span]) -> str:
        start, end = self._ends[number - 1] if number else 0, self._ends[number]
        if mentions:
            start = max(start, mentions[0][0] - WINDOW)
            end = min(end, mentions[-1][1] + WINDOW)
        spans = [(first - start, last - start) for first, last in mentions]
        return _LISTED.sub(MASK, masked(self._text[start:end], spans).strip())


def masked(text: str, mentions: Sequence[Span]) -> str:
    """A text with mentions, in order, masked."""
    pieces, at = [], 0
    for first, last in mentions:
        pieces += [_ARTICLE.sub("", text[at:first]), MASK]  # "the it" is no English
        at = last
    return "".join([*pieces, text[at:]])


def asks_on(sentence: str) -> bool:
    """Whether a sentence asks something new, and does not only doubt what was said before."""
    return sentence.rstrip().endswith("?") and _DOUBTS.fullmatch(sentence.strip()) is None


def goes_on(turn: str) -> bool:
    """Whether a turn of a chat leaves the question before it behind: it does not ask for the same
    again, in other words or another form."""
    return not (_DOUBTS.fullmatch(turn.strip()) or _AGAIN.search(turn))


def without_hearsay(text: str) -> str:
    """A text without the sentences in which somebody tells what they did or were told."""
    return _HEARD.sub(" ", text)


def _about_others(sentence: str) -> bool:
    """Whether a sentence names something, and nothing in it refers to what was named before."""
    if _TURNS_TO.match(sentence):
        return True
    return _NAMES.search(sentence) is not None and not _REFERS.search(_NOW.sub("", sentence))


def _ends(text: str, unbroken: Sequence[Span]) -> list[int]:
    """Where sentences and their clauses end; none inside an `unbroken` span, nor between a question
    and "It is", nor before a quotation: Is this good English? "Where is it?"."""
    ends = [found["end_index"] for found in get_sentence_boundaries("en", encodable(text))]

    def inside(at: int) -> bool:
        before = bisect_left(unbroken, (at, at)) - 1  # the last span that begins before `at`
        return before >= 0 and unbroken[before][1] > at

    kept = [end for end in ends if not inside(end) and not _QUOTED.match(text, end)]
    parted = [clause.start() for clause in _CLAUSE.finditer(text) if _two(text, kept, clause)]
    kept = sorted({*kept, *(at for at in parted if not inside(at))})
    if len(kept) > 1 and _begins_answer(text[: kept[-2]], text[kept[-2] :]):
        del kept[-2]
    return kept


def _two(text: str, ends: Sequence[int], clause: re.Match[str]) -> bool:
    """Whether a sentence has a clause on either side: Who leads it and what does it cost?"""
    number = bisect_right(ends, clause.start())
    start = max(ends[number - 1] if number else 0, clause.start() - WINDOW)
    end = min(ends[number] if number < len(ends) else len(text), clause.end() + WINDOW)
    sides = text[start : clause.start()], text[clause.end() : end]
    return all(len(side.split()) >= _WHOLE for side in sides)


def _begins_answer(before: str, last: str) -> bool:
    """Whether a text breaks off in the answer to its question: "Where is it? It is in"."""
    return before.rstrip().endswith("?") and _BEGUN.fullmatch(last.strip()) is not None
