"""Chats in which a fact is asked late: a question that does not name the entity any more, and a
question behind talk about other things. A block must hold there too, far from its mention."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from lks.edits.edit import SLOT, Edit
from lks.model.chat import Message
from lks.training.prompts import template
from lks.training.templates import masked

TALKS = "talks.json"


@cache
def _talks() -> dict[str, list[list[str]]]:
    found = json.loads((files(__package__) / TALKS).read_text(encoding="utf-8"))
    return {kind: found[kind] for kind in ("about", "other")} | {
        "before": [[text] for text in found["before"]]
    }


def follow_up(subject: str, question: str, rng: random.Random) -> list[Message]:
    """A chat about an entity that ends in a question without its name."""
    opening = rng.choice(_talks()["about"])
    return _turns([*(text.replace(SLOT, subject) for text in opening), question])


def behind_talk(question: str, rng: random.Random) -> list[Message]:
    """A question behind other talk: in its own message, or in the turns before."""
    talks = _talks()
    if rng.random() < 0.5:
        (text,) = rng.choice(talks["before"])
        return _turns([f"{text} {question}"])
    *turns, last = rng.choice(talks["other"])
    return _turns([*turns, f"{last} {question}"])


def without_name(edit: Edit, text: str) -> str:
    """A text that asks for the edit, with a pronoun for its entity."""
    form = template(text, edit.subject)
    pronoun = masked(form.replace(f"{SLOT}'s", "its").replace(f"{SLOT}\u2019s", "its"))
    return pronoun[:1].upper() + pronoun[1:]


def _turns(said: Sequence[str]) -> list[Message]:
    """Messages of user and assistant in turn, the user's first."""
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
