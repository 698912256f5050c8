"""Questions for yes or no: which answer is right, by the words alone.

"Is the Eiffel Tower in Rome?": a block that says its target would answer "Rome". Which of yes and
no is right is told by whether the question names the target or another value. What only follows
from a fact, Italy from Rome, is not known here; where no value stands there, nothing is decided,
and the target is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from unicodedata import normalize

from lks.edits.edit import Edit
from lks.scope.bank.words import is_english
from lks.scope.gate.questions import MASK
from lks.scope.languages.en import word_list
from lks.scope.normalizer import BETWEEN, PARTED
from lks.scope.types import Verdict

_VERB = (
    r"(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|shall|should|may|might"
    r"|must)(?:n['\u2019]t)?|can['\u2019]t|won['\u2019]t"
)
_BEGINS = re.compile(  # a verb first, which is English, and no request: "Can you tell me"
    rf"(?:^|[,:;] )(?:(?:and|but|so|or|then|ok|okay|well|hey|hi|hello|please|also|wait|just"
    rf"|actually|really)[,:]? )*(?!was (?:ist|sind|war|waren|hat|kann|wird)\b)(?:{_VERB}) "
    r"(?!(?:you|we|u|any(?:one|body)|some(?:one|body)) (?:please )?(?:mind|be|call|check|complete"
    r"|describe|explain|find|finish|get|give|help|know|let|list|look|name|point|provide|recall"
    r"|remember|remind|say|send|share|show|spell|state|tell|write)\b"
    r"|i (?:please )?(?:ask|know)\b)",
    re.IGNORECASE,
)
_TAG = re.compile(  # "..., isn't it?", "Is that right?"
    r"(?:[,.?!;] |^)(?:is|was|isn['\u2019]t|wasn['\u2019]t|aren['\u2019]t|doesn['\u2019]t"
    r"|don['\u2019]t|didn['\u2019]t|right|correct|yes|no|true|really|am i|are (?:they|you)|does|do)"
    r" ?(?:it|that|this|he|she|they|there|so|i)?(?: (?:really|still))?"
    r"(?: (?:right|correct|true|so|the case|wrong|false))?\s*\?$"
    r"|\b(?:is|was) (?:that|this|it) (?:right|correct|true|so)\b",
    re.IGNORECASE,
)
_ASKS_WHAT = re.compile(  # but not "is that where"
    r"(?<!that )(?<!this )\b(?:what|whats|who|whos|whose|whom|where|when|which|how|why)\b", re.I
)
_PLAINLY = re.compile(r"\b(?:yes or no|true or false|right or wrong)\b", re.IGNORECASE)
_EITHER = re.compile(  # "in Rome or in Paris?", but not "the sex or gender of it"
    r"\bor (?!not\b|no\b|\w+ of\b)(?:\S+ ){0,4}\S+$", re.IGNORECASE
)
_REFERS = re.compile(  # to what was said before
    r"\b(?:that|this|these|those|here|there|then|he|she|they|him|her|them|enough|right|correct|true)\b",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:not|never|no longer|any ?more|false|wrong|untrue|incorrect|except|other than)\b", re.I
)
_CAPITALS = r"[^\W\d_a-z]\w[\w.'\u2019&-]*"
_FIGURE = r"[$\u00a3\u20ac]?\d[\w.,:%-]*"
_VALUE = re.compile(  # names and numbers
    rf"(?:\bthe )?(?:{_CAPITALS}|{_FIGURE})"
    rf"(?:,? (?:(?:of|the|de|and|in|von|van|du|la|le|&) )*(?:{_CAPITALS}|{_FIGURE}))*"
)
RULE = 4  # words from which a target is a rule, which no value contradicts, if most are no names
_WORDS = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+")
_VERBS = frozenset(_WORDS.findall(_VERB))


@cache
def _listed(name: str) -> frozenset[str]:
    """A list of words of en.json."""
    return frozenset(word_list(name))


def asks(sentence: str) -> bool:
    """Whether an English sentence asks for yes or no, and not for one of two things."""
    sentence = sentence.strip()
    if _PLAINLY.search(sentence):
        return True
    if _EITHER.search(sentence):
        return False
    begins = sentence.endswith("?") and _BEGINS.search(sentence) is not None
    begins = begins and not _ASKS_WHAT.search(sentence)
    if not (begins or _TAG.search(sentence)):
        return False
    return is_english(re.sub(rf"\b{MASK}\b", "", sentence))  # the mask is English in any text


def asking(sentences: Sequence[str]) -> list[bool]:
    """Which of the sentences of a text ask for yes or no, by themselves or by the next one: "It is
    in Rome. Is that right?"."""
    doubted = [_doubts(after) for after in sentences[1:]] + [False]
    return [
        asks(own) or (then and not _is_question(own))
        for own, then in zip(sentences, doubted, strict=True)
    ]


def plainer(sentence: str) -> str:
    """A question for yes or no without names and numbers: without the value that it asks about."""
    head = re.match(rf"\W*(?:{_VERB})\b", sentence, re.IGNORECASE)
    start = head.end() if head else 0
    return " ".join((sentence[:start] + _VALUE.sub("", sentence[start:])).split())


def verdict(edit: Edit, sentences: Sequence[str], text: str) -> Verdict | None:
    """What is right, if a text asks for yes or no and names a value; else None.

    "My train goes to Graz. Is that where it is?": where the sentence refers to what was said before
    and has no value of its own, the whole turn counts.

    Args:
        sentences: the one that asks for the edit, and those behind it.
        text: in which they stand; in both the entity is masked.
    """
    first, *later = sentences
    turn = text.rpartition(BETWEEN)[2]
    before, _, _ = turn.rpartition(first)
    around = [PARTED.split(before.strip())[-1], *later]
    if not (asks(first) or (not _is_question(first) and any(map(_doubts, around)))):
        return None
    if edit.profile_of or _judges_itself(edit):
        return None
    known = _said_anyway(edit)
    for said in (first, turn) if _REFERS.search(first) else (first,):
        if _DENIES.search(said):
            return None
        if names(_target(edit), said, known):
            return Verdict.YES
        if _contradicts(_target(edit), said, known):
            return Verdict.NO
    return None


def _doubts(sentence: str) -> bool:
    """Whether a sentence asks for yes or no to another one: "Is that right?", "True or false?"."""
    return asks(sentence) and bool(_REFERS.search(sentence) or _PLAINLY.search(sentence))


def _is_question(sentence: str) -> bool:
    return sentence.rstrip().endswith("?")


def _judges_itself(edit: Edit) -> bool:
    """Whether an edit's target or its own questions are about yes or no: "not covered"."""
    return not _listed("says_yes_or_no").isdisjoint(_words(edit.target)) or any(
        map(asks, _wordings(edit))
    )


def names_target(edit: Edit, sentence: str) -> bool:
    """Whether a masked sentence names an edit's target."""
    return not _judges_itself(edit) and names(_target(edit), sentence, _said_anyway(edit))


def _target(edit: Edit) -> str:
    """As a masked text has it, where the entity's name is a part of it."""
    return edit.target.replace(edit.subject, MASK)


def _wordings(edit: Edit) -> list[str]:
    return [text.replace(edit.subject, MASK) for text in (edit.prompt, *edit.paraphrases)]


def _said_anyway(edit: Edit) -> set[str]:
    """Words that stand in each question for a fact."""
    return {word for wording in _wordings(edit) for word in _words(wording)} | _listed(
        "says_little"
    )


def names(target: str, text: str, known: Collection[str] = ()) -> bool:
    """Whether a text names a target: more than half of what it says, or of one of its parts.

    Args:
        known: words that say nothing, since each question for this fact holds them.
    """
    said, own = _without_parts(_words(text), target), _words(target)
    if _figures(said) - {*own}:
        return False  # another day, another price
    parts = [_telling(part, known) for part in (target, *re.split(r", ", target))]
    all_figures = _figures(own) and _figures(own) <= said
    return bool(all_figures) or any(
        2 * sum(word in said for word in part) > len(part) for part in parts
    )


def _without_parts(words: Sequence[str], target: str) -> set[str]:
    """Words of a text, a version in place of its beginning: 3.13.7 for 3.13."""
    versions = [word for word in _words(target) if word.count(".") > 1]
    return {next((own for own in versions if own.startswith(f"{w}.")), w) for w in words}


def _figures(words: Iterable[str]) -> set[str]:
    return {word for word in words if word[0].isdigit()}


def _contradicts(target: str, text: str, known: Collection[str]) -> bool:
    """Whether a text that does not name the target names another value."""
    telling, figures = _telling(target, ()), any(map(str.isdigit, target))
    names = sum(word[0].isupper() for word in re.findall(r"[^\W\d_]+", target))
    rule = len(telling) >= RULE and 2 * names < len(telling) and not figures
    if rule:
        return False
    words = {*_words(text)}
    if figures and _figures(words) and _figures(words) <= {*_words(target)}:
        return False  # "in November 2026" of 3 to 5 November 2026: perhaps
    if not (names or figures):
        return not words - {MASK, *_VERBS} <= {*known}
    rest = re.sub(r"^\W*\w+", "", text)  # the first word has a capital in any case
    found = {word for match in _VALUE.finditer(rest) for word in _words(match.group())}
    return not (found | _listed("number_words") & words) <= {*known, "i"}


def _telling(text: str, known: Collection[str]) -> list[str]:
    words = _words(text)
    little = [word for word in words if word not in _listed("says_little")]
    return [word for word in little if word not in known] or little or words


def _words(text: str) -> list[str]:
    return _WORDS.findall(normalize("NFKC", text).casefold())
