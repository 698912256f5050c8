"""Training prompts of each edit: its own, and those that other edits of its relation lend.

A relation is a set of templates: texts with the subject cut out. Edits that share a template, be it
of their prompts or of their paraphrases, ask about one relation, and lend each other their wordings
and locality prompts with the borrower's subject put in. So blocks learn the fact and not a wording.
A text that stands anywhere as a held-out prompt is never used.
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

    paraphrases: tuple[str, ...]
    locality: tuple[str, ...]


@dataclass(frozen=True)
class PromptReport:
    """How the prompts came about, counted in edits; `made` are those that bring none of a kind."""

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
    """Prompts for every edit: its own, filled up with lent ones to `most` paraphrases.

    Locality prompts are lent only to edits that bring none.

    Args:
        pool: more edits whose templates may be lent, besides `edits` themselves.
    """
    lenders = list({edit.id: edit for edit in (*edits, *pool)}.values())
    relations = _Relations(lenders)
    held_out = frozenset().union(*(edit.heldout_prompts for edit in lenders))
    asked = {same_text(text) for edit in edits for text in (edit.prompt, *edit.paraphrases)}
    wordings = relations.templates(lambda e: (e.prompt, *e.paraphrases, *e.generality))
    probes = relations.templates(lambda e: (probe.prompt for probe in e.locality))

    taken = held_out | asked

    def lent(edit: Edit, own: tuple[str, ...], forms: dict[str, list[str]]) -> tuple[str, ...]:
        candidates = list(forms[relations.of(edit)])
        random.Random(f"{seed} {edit.id}").shuffle(candidates)
        made = {same_text(text): text for text in own}
        for form in candidates:
            if len(made) >= most:
                break
            text = form.replace(SLOT, edit.subject)
            if same_text(text) not in taken:
                made.setdefault(same_text(text), text)
        return tuple(made.values())

    prompts = [
        TrainingPrompts(
            lent(edit, edit.paraphrases, wordings),
            edit.training_locality or lent(edit, (), probes),
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
    return re.sub(re.escape(subject), SLOT, text, flags=re.IGNORECASE)


class _Relations:
    """Groups of templates that some edits share."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits = edits
        self._parent: dict[str, str] = {}
        for edit in edits:
            first, *others = (_key(edit, text) for text in (edit.prompt, *edit.paraphrases))
            for other in others:
                self._parent[self._root(other)] = self._root(first)

    def of(self, edit: Edit) -> str:
        """A name of the edit's relation."""
        return self._root(_key(edit, edit.prompt))

    def templates(self, texts: Callable[[Edit], Iterable[str]]) -> dict[str, list[str]]:
        """Templates that the edits of each relation bring, each once, in a fixed order."""
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for edit in self._edits:
            for text in texts(edit):
                form = template(text, edit.subject)
                if SLOT in form:
                    found[self.of(edit)][form] = None
        return defaultdict(list, {relation: list(forms) for relation, forms in found.items()})

    def _root(self, key: str) -> str:
        while (above := self._parent.setdefault(key, key)) != key:
            key = self._parent[key] = self._parent[above]
        return key


def _key(edit: Edit, text: str) -> str:
    return same_text(template(text, edit.subject))
