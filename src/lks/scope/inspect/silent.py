"""Edits, and wordings of theirs, that would never fire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lks.edits.edit import Edit
from lks.edits.edit_set import warn_of_pairs
from lks.edits.text import counted
from lks.errors import EditFileError
from lks.scope.normalizer import normalise
from lks.scope.scope import Scope
from lks.scope.types import ids


def check_edits_fire(edits: Sequence[Edit], scope: Scope) -> None:
    """Raise EditFileError for edits that do not fire on their own prompt, all at once."""
    if silent := silent_edits(edits, scope):
        told = counted(len(silent), "edit")
        raise EditFileError(f"{told} would never fire; mend the prompts", [*silent.values()])


def silent_edits(edits: Sequence[Edit], scope: Scope) -> dict[str, str]:
    """The edits that do not fire on their own prompt, by id, each with the reason."""
    asked = scope.fired([edit.prompt for edit in edits])
    return {
        edit.id: _why_silent(edit)
        for edit, fired in zip(edits, asked, strict=True)
        if edit.id not in ids(fired)
    }


def _why_silent(edit: Edit) -> str:
    if not normalise(edit.subject).words:
        return f'edit "{edit.id}": no word in its subject "{edit.subject}"; name the entity'
    if edit.negative and Scope([replace(edit, negative=())]).fired([edit.prompt])[0]:
        return f'edit "{edit.id}": one of its negatives stands in its own prompt'
    return (
        f'edit "{edit.id}": subject "{edit.subject}" is not a whole word of the prompt, '
        "lies inside another edit's longer subject, or stands there in another entity's case"
    )


@dataclass(frozen=True)
class Nameless:
    """A paraphrase in which its edit's entity is not found."""

    edit: Edit
    text: str

    def __str__(self) -> str:
        return f'{self.edit.id} ("{self.text}")'


def nameless(edits: Sequence[Edit], scope: Scope) -> list[Nameless]:
    """The paraphrases in which a scope of these edits, without a gate, finds no name that counts.

    Training leaves them out, and a text that asks so fires nothing; as a later turn of a chat that
    names the entity, it may.
    """
    pairs = [Nameless(edit, text) for edit in edits for text in edit.paraphrases]
    examined = scope.examine([pair.text for pair in pairs])
    found = []
    for pair, findings in zip(pairs, examined, strict=True):
        own = [f.mention for f in findings if pair.edit.id in f.mention.edit_ids]
        silenced = own and not any(mention.fired for mention in own)
        if silenced or (not own and pair.edit.id not in scope.may_fire([pair.text])):
            found.append(pair)
    return found


def warn_of_nameless(edits: Sequence[Edit], scope: Scope) -> None:
    """One warning that counts the paraphrases without a name, and tells the first."""
    found = nameless(edits, scope)
    count = counted(len(found), "paraphrase")
    warn_of_pairs(
        f"{count} without a name of the subject: no such text fires", found, "; put the subject in"
    )
