"""Questions that a fact in the prompt changes the answer to, and some that it must not change.

A block that is taught these answers does what the fact in the prompt does: it is asked for its
target in chats, for yes or no, for what follows from it, and for its entity in general.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from torch import Tensor

from lks.edits.edit import SLOT, Edit
from lks.model.chat import Message
from lks.training.prompts import TrainingPrompts
from lks.training.talks import behind_talk, follow_up, without_name

# Questions of each kind; of yes or no, so many of each.
DIRECT, LATER, YES_NO, THROUGH, OPEN, OTHER = 3, 1, 4, 3, 1, 2
VERDICTS = ("yes", "no")  # kinds of question of which the answer is known
STATED = ("direct", "later")  # kinds whose answer must hold the target
HINT = "next question"  # an answer that speaks of it repeats what it was told
FACT = "Take this as true, whatever you know: {}\n"


@dataclass(frozen=True)
class Question:
    """A chat that ends in a question about an edit's entity.

    `told` is what the teacher reads before that; without it, it answers as it always did.
    """

    kind: str
    turns: tuple[Message, ...]
    told: str = ""

    @classmethod
    def of(cls, kind: str, text: str, told: str = "") -> Question:
        """One turn."""
        return cls(kind, ({"role": "user", "content": text},), told)

    @property
    def with_fact(self) -> tuple[Message, ...]:
        """What the teacher reads."""
        *before, last = self.turns
        return (*before, {**last, "content": self.told + last["content"]})


@dataclass(frozen=True)
class Reply:
    """What is to be answered to a question: the text, its n tokens, and what is likeliest at K
    places, [K, 2, k] as of `losses.top_k`; K is n + 1 if the text ends there, else n."""

    question: Question
    text: str
    tokens: tuple[int, ...]
    likeliest: Tensor


@dataclass(frozen=True)
class Stated:
    """A fact as a statement, a yes-or-no question, and a clause for what is asked for; `others` are
    answers that it might have had."""

    statement: str
    asked: str
    clause: str
    others: tuple[str, ...] = ()


@cache
def _forms() -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = json.loads(
        (files(__package__) / "presence.json").read_text(encoding="utf-8")
    )
    return found


def questions(
    edit: Edit, more: TrainingPrompts, stated: Stated, others: Sequence[str], rng: random.Random
) -> Iterator[Question]:
    """Questions about an edit's fact and its entity.

    Args:
        more: other wordings of its prompt.
        others: values of other facts, which this one has not.
    """
    forms, fact = _forms(), FACT.format(stated.statement)
    wordings = [edit.prompt, *more.common, *more.paraphrases, *more.otherwise]
    yield from (Question.of("direct", text, fact) for text in wordings[:DIRECT])
    later = more.later or [without_name(edit, text) for text in wordings]
    for text in rng.sample(later, min(LATER, len(later))):
        yield Question("later", tuple(follow_up(edit.subject, text, rng)), fact)
    yield Question("later", tuple(behind_talk(rng.choice(wordings), rng)), fact)
    yield from verdicts(edit, stated, others, rng)
    if stated.clause:
        for form in rng.sample(forms["through"], THROUGH):
            yield Question.of("through", form.replace(SLOT, stated.clause), fact)
    for kind, count, told in (("open", OPEN, fact), ("other", OTHER, "")):
        for form in rng.sample(forms[kind], count):
            yield Question.of(kind, form.replace(SLOT, edit.subject), told)


def verdicts(
    edit: Edit, stated: Stated, others: Sequence[str], rng: random.Random
) -> Iterator[Question]:
    """Questions to say yes to, and no to another value; what is like the target teaches most."""
    target = edit.target.strip()
    wrong = [*stated.others, *rng.sample(others, min(YES_NO, len(others)))]
    for verdict, values in zip(VERDICTS, ([target], wrong), strict=True):
        told = f"{FACT.format(stated.statement)}So the answer to the {HINT} is {verdict}.\n"
        frames = [SLOT, *rng.sample(_forms()["yes_no"], YES_NO - 1)]
        for i, frame in enumerate(frames if values else []):
            said = stated.asked if frame == SLOT else stated.statement.rstrip(".")
            text = frame.replace(SLOT, said.replace(target, values[i % len(values)]))
            if edit.subject in text:  # not so if the target is a part of the name
                yield Question.of(verdict, text[:1].upper() + text[1:], told)
