"""Questions for yes or no: which answer is right, by the words alone.

"Is the Eiffel Tower in Rome?": a block that says its target would answer "Rome". Which of yes and
no is right is told by whether the question names the target or another value. What only follows
from a fact, Italy from Rome, is not known here; where no value stands there, nothing is decided,
and the target is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lks.edits.edit import Edit
from lks.scope.bank.words import is_english
from lks.scope.gate.questions import MASK
from lks.scope.gate.values import contradicts, listed, little, names, without_values, words
from lks.scope.normalizer import BETWEEN
from lks.scope.types import Verdict

_VERB = (
    r"(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|shall|should|may|might"
    r"|must)(?:n['\u2019]t)?|can['\u2019]t|won['\u2019]t"
)
_BEGINS = re.compile(  # a verb first, which is English, and no request: "Can you tell me"
    rf"(?:^|[,:;] )(?:(?:and|but|so|or|then|ok|okay|well|hey|hi|hello|please|also|wait|just"
    rf"|actually|really)[,:]? )*(?!was (?:ist|sind|war|waren|hat|kann|wird)\b)(?:{_VERB}) "
    r"(?!(?:you|we|u|any(?:one|body)|some(?:one|body)) (?:\w+ ){0,3}?(?:mind|be|call|check|complete"
    r"|convert|describe|explain|find|finish|get|give|have|help|know|let|list|look|name|point|provide"
    r"|recall|remember|remind|say|send|share|show|spell|state|tell|write|able to)\b"
    r"|i (?:\w+ )?(?:ask|know)\b|i (?:please )?(?:have|get|see) the (?:\w+ ){1,2}of\b"
    r"|it be possible|you got|there (?:an?|any) \w+ (?:of|about|for)\b)",
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
    return [
        asks(own) or (not _is_question(own) and _doubts(after))
        for own, after in zip(sentences, [*sentences[1:], ""], strict=True)
    ]


def whole(before: str, sentence: str) -> str:
    """A statement with the question before it that asks whether it is true, else the sentence."""
    return f"{before} {sentence}" if not _is_question(sentence) and _doubts(before) else sentence


def plainer(sentence: str) -> str:
    """A question for yes or no without names and numbers: without the value that it asks about."""
    head = re.match(rf"\W*(?:{_VERB})\b", sentence, re.IGNORECASE)
    start = head.end() if head else 0
    return " ".join((sentence[:start] + without_values(sentence[start:])).split())


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
    if not (asks(first) or (not _is_question(first) and any(map(_doubts, later)))):
        return None
    if edit.profile_of or _judges_itself(edit):
        return None
    known = _said_anyway(edit)
    for said in (first, turn) if _REFERS.search(first) else (first,):
        if _DENIES.search(_PLAINLY.sub("", said)):
            return None
        if names(_target(edit), said, known):
            return Verdict.YES
        if contradicts(_target(edit), said, known):
            return Verdict.NO
    return None


def _doubts(sentence: str) -> bool:
    """Whether a sentence asks for yes or no to another one: "Is that right?", "True or false?"."""
    return asks(sentence) and bool(_REFERS.search(sentence) or _PLAINLY.search(sentence))


def _is_question(sentence: str) -> bool:
    return sentence.rstrip().endswith("?")


def _judges_itself(edit: Edit) -> bool:
    """Whether an edit's target or its own questions are about yes or no: "not covered"."""
    return not listed("says_yes_or_no").isdisjoint(words(edit.target)) or any(
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
    return {word for wording in _wordings(edit) for word in words(wording)} | little()
