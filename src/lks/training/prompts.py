"""Training prompts of each edit: its own, or made from other edits' templates.

An edit's relation template is its prompt with the subject cut out. Where an edit brings no
paraphrases (or no locality prompts) of its own, other edits of the same template lend theirs, with
this edit's subject put in. A text that stands anywhere as a held-out prompt is never used.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lks.edits import SLOT, Edit, same_text


@dataclass(frozen=True)
class TrainingPrompts:
    """What one edit is trained on beside its own prompt."""

    paraphrases: tuple[str, ...] = ()
    locality: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptReport:
    """How the prompts came about, counted in edits."""

    edits: int
    made_paraphrases: int
    without_paraphrases: int
    made_locality: int
    without_locality: int

    @property
    def all_own(self) -> bool:
        """Whether every edit brought all its prompts itself."""
        made = self.made_paraphrases + self.made_locality
        return not (made or self.without_paraphrases or self.without_locality)

    def __str__(self) -> str:
        return (
            f"paraphrases: {self.made_paraphrases} of {self.edits} edits lent by other edits, "
            f"{self.without_paraphrases} have none; locality prompts: {self.made_locality} lent, "
            f"{self.without_locality} have none"
        )


def training_prompts(
    edits: Sequence[Edit], pool: Iterable[Edit] = (), *, most: int = 8, seed: int = 0
) -> tuple[list[TrainingPrompts], PromptReport]:
    """Prompts for every edit, at most `most` of each kind lent to one edit.

    Args:
        pool: more edits whose templates may be lent, besides `edits` themselves.
    """
    lenders = list({edit.id: edit for edit in (*edits, *pool)}.values())
    held_out = frozenset().union(*(edit.heldout_prompts for edit in lenders))
    asked = {same_text(text) for edit in edits for text in (edit.prompt, *edit.paraphrases)}
    paraphrase_forms = _templates(lenders, lambda e: (*e.paraphrases, *e.generality))
    locality_forms = _templates(lenders, lambda e: (probe.prompt for probe in e.locality))

    taken = held_out | asked

    def lent(edit: Edit, forms: dict[str, list[str]]) -> tuple[str, ...]:
        candidates = list(forms[relation_template(edit)])
        random.Random(f"{seed} {edit.id}").shuffle(candidates)
        made: dict[str, str] = {}
        for form in candidates:
            text = form.replace(SLOT, edit.subject)
            if same_text(text) not in taken:
                made.setdefault(same_text(text), text)
            if len(made) == most:
                break
        return tuple(made.values())

    prompts = [
        TrainingPrompts(
            edit.paraphrases or lent(edit, paraphrase_forms),
            edit.training_locality or lent(edit, locality_forms),
        )
        for edit in edits
    ]
    pairs = list(zip(edits, prompts, strict=True))
    return prompts, PromptReport(
        edits=len(edits),
        made_paraphrases=sum(bool(p.paraphrases) and not e.paraphrases for e, p in pairs),
        without_paraphrases=sum(not p.paraphrases for p in prompts),
        made_locality=sum(bool(p.locality) and not e.training_locality for e, p in pairs),
        without_locality=sum(not p.locality for p in prompts),
    )


def template(text: str, subject: str) -> str:
    """`text` with `{}` in place of the subject, in whatever case the subject stands there."""
    if subject in text:  # a pattern for each of many subjects takes long to make
        return text.replace(subject, SLOT)
    return re.sub(re.escape(subject), SLOT, text, flags=re.IGNORECASE)


def relation_template(edit: Edit) -> str:
    """Key of the edit's relation."""
    return same_text(template(edit.prompt, edit.subject))


def _templates(
    edits: Iterable[Edit], texts: Callable[[Edit], Iterable[str]]
) -> dict[str, list[str]]:
    """Templates that the edits of each relation bring, each once, in a fixed order."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for edit in edits:
        for text in texts(edit):
            form = template(text, edit.subject)
            if SLOT in form:
                found[relation_template(edit)][form] = None
    return defaultdict(list, {relation: list(forms) for relation, forms in found.items()})
