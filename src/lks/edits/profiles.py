"""Profiles: what a model says of an entity when it is asked for no fact in particular.

A profile is an edit whose prompts are open-ended requests and whose target states the facts of an
entity. It counts only while those are exactly the entity's facts in force: after a change the
profile rests, and it is back when the change is undone. So no change has to touch another edit.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from lks.edits.edit import SLOT, Edit
from lks.edits.text import entity_key, same_text
from lks.errors import InputError

REQUESTS = (
    "Give me some facts about {}.",
    "Who or what is {}?",
    "Introduce {} to me.",
    "I would like to learn something about {}.",
    "Write a few lines on {}.",
)


def in_force(edits: Iterable[Edit]) -> list[Edit]:
    """The edits without the profiles that do not state what is in force of their entity."""
    edits = list(edits)
    if not any(edit.profile_of for edit in edits):
        return edits
    facts = _facts(edits)
    return [edit for edit in edits if not edit.profile_of or _current(edit, facts)]


def missing(edits: Iterable[Edit], subjects: Iterable[str] | None = None) -> list[Edit]:
    """New profiles of the entities that have facts, but no profile in force.

    Args:
        subjects: of these entities only.

    Raises:
        InputError: no edit is about one of the subjects.
    """
    edits = list(edits)
    facts = _facts(edits)
    wanted = list(facts)
    if subjects is not None:
        named = {entity_key(subject): subject for subject in subjects}
        # in another case too, where no subject has this one
        loosely = {same_text(subject) for key, subject in named.items() if key not in facts}
        found = {same_text(key) for key in facts}
        unknown = [f'"{s}"' for s in named.values() if same_text(s) in loosely - found]
        if unknown:
            raise InputError(f"no edit is about {', '.join(unknown)}; give an edit's subject")
        wanted = [key for key in facts if key in named or same_text(key) in loosely]
    have = {_entity(edit) for edit in in_force(edits) if edit.profile_of}
    return [_profile(facts[key]) for key in wanted if key not in have]


def statement(edit: Edit) -> str:
    """The fact as a sentence: its own statement, or a wording that the target completes."""
    if edit.statement:
        return edit.statement
    wordings = (edit.prompt, *edit.paraphrases)
    unfinished = (text for text in wordings if text.rstrip()[-1:] not in ".?!:")
    sentence = f"{next(unfinished, edit.prompt).strip()} {edit.target.strip()}"
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def _profile(facts: Sequence[Edit]) -> Edit:
    first = facts[0]
    of, text = tuple(edit.key for edit in facts), " ".join(map(statement, facts))
    prompt, *others = (request.replace(SLOT, first.subject) for request in REQUESTS)
    digest = hashlib.sha256("\x1f".join((*of, text)).encode()).hexdigest()[:8]
    aliases = dict.fromkeys(alias for edit in facts for alias in edit.aliases)
    return Edit(
        f"profile-{digest}",
        first.subject,
        prompt,
        text,
        aliases=tuple(aliases),
        paraphrases=tuple(others),
        profile_of=of,
    )


def by_entity(edits: Iterable[Edit]) -> dict[str, list[Edit]]:
    """The edits of each entity, by its `entity_key`."""
    found = defaultdict(list)
    for edit in edits:
        found[_entity(edit)].append(edit)
    return found


def _facts(edits: Iterable[Edit]) -> dict[str, list[Edit]]:
    """The facts of each entity."""
    return by_entity(edit for edit in edits if not edit.profile_of)


def _current(profile: Edit, facts: dict[str, list[Edit]]) -> bool:
    own, of = facts.get(_entity(profile), []), set(profile.profile_of)
    return len(own) == len(of) and all(of & {edit.id, edit.key} for edit in own)


def _entity(edit: Edit) -> str:
    return entity_key(edit.subject)
