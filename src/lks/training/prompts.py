"""Training prompts of each edit: its own, or made from templates of others and common relations.

An edit's relation template is its prompt with the subject cut out. Where an edit brings no
paraphrases (or no locality prompts) of its own, other edits of the same template lend theirs, with
this edit's subject put in; if these are few, edits that have the template among their paraphrases
lend their prompts. An edit that has few paraphrases then takes wordings of the common relation
nearest to its prompt (`templates`). A text that stands anywhere as a held-out prompt is never used,
nor is one that differs from it by articles and punctuation only.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING

from lks.edits.edit import SLOT, Edit
from lks.edits.edit_set import EditSet, named_edits
from lks.edits.text import counted, same_text, same_wording
from lks.training.templates import Nearest, nearest_relations

if TYPE_CHECKING:  # it needs torch
    from lks.model.embedder import CachedEmbedder

LENDS = 0.13  # a relation that lends is nearer than one that asks the same
FEW = 4  # wordings beside the prompt; an edit with fewer holds less well
GATE_WORDINGS = 8  # lent to each edit for the gate
COMPARED = 4  # paraphrases, beside the prompt, that tell the relation
OTHERWISE = 2  # questions for an edit whose wordings are all statements, and the other way round


@dataclass(frozen=True)
class TrainingPrompts:
    """What one edit is trained on beside its own prompt.

    `common` are wordings of the common relation nearest to it, where there are few paraphrases;
    `otherwise` are its questions where there are many, but no question, and the other way round;
    the blocks learn from these, and not the gate. `later` are questions of that relation which do
    not name the entity, since the talk is about it. `nearest` is that relation, lend or not; None
    where it was not looked for.
    """

    paraphrases: tuple[str, ...] = ()
    locality: tuple[str, ...] = ()
    common: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    nearest: Nearest | None = field(default=None, compare=False)

    @property
    def few(self) -> bool:
        """Whether these are few ways to ask for the edit, beside its prompt."""
        return len(self.paraphrases) + len(self.common) < FEW

    def at_most(self, n: int, edit: Edit) -> TrainingPrompts:
        """At most n of each kind, but all that the edit itself brings."""
        return TrainingPrompts(
            edit.paraphrases or self.paraphrases[:n],
            edit.training_locality or self.locality[:n],
            self.common[:n],
            self.otherwise[:n],
            self.later[:n],
            self.nearest,
        )


@dataclass(frozen=True)
class PromptReport:
    """How the prompts came about, counted in edits; `few` are those with fewer than `FEW` wordings
    beside their prompt, `prompts` what was found for each edit."""

    edits: int
    made_paraphrases: int
    common_paraphrases: int
    without_paraphrases: int
    made_locality: int
    without_locality: int
    few: tuple[Edit, ...] = ()
    prompts: tuple[TrainingPrompts, ...] = field(default=(), repr=False)

    def counts(self) -> dict[str, int]:
        """What a pack keeps of it."""
        names = [own.name for own in fields(self) if own.name not in ("few", "prompts")]
        return {name: getattr(self, name) for name in names} | {"few": len(self.few)}

    def few_named(self) -> str:
        """The start of a line that names the first edits with few wordings, and counts all."""
        count = f"{len(self.few)} of {counted(self.edits, 'edit')}"
        return f"fewer than {FEW} wordings beside the prompt for {count}: {named_edits(self.few)}"

    @property
    def all_own(self) -> bool:
        """Whether every edit brought all its prompts itself."""
        made = self.made_paraphrases + self.common_paraphrases + self.made_locality
        return not (made or self.without_paraphrases or self.without_locality)

    def __str__(self) -> str:
        edits = counted(self.edits, "edit")
        return (
            f"paraphrases: {self.made_paraphrases} of {edits} lent by others, "
            f"{self.common_paraphrases} by common relations, {self.without_paraphrases} have none; "
            f"locality prompts: {self.made_locality} lent, {self.without_locality} have none"
        )


def training_prompts(
    edits: Sequence[Edit],
    pool: Iterable[Edit] = (),
    *,
    embed: CachedEmbedder | None = None,
    most: int = 8,
    seed: int = 0,
) -> tuple[list[TrainingPrompts], PromptReport]:
    """Prompts for every edit, at most `most` of each kind lent to one edit.

    Args:
        pool: more edits whose templates may be lent, besides `edits` themselves.
        embed: finds the common relation of an edit; without it, none lends.
    """
    lenders = list({edit.id: edit for edit in (*edits, *pool)}.values())
    taken = taken_wordings(edits, lenders)
    relations = {edit.id: relation_template(edit) for edit in edits}
    forms = partial(_templates, lenders, frozenset(relations.values()))
    paraphrase_forms = forms(lambda e: [(e.prompt, text) for text in _wordings(e)])
    reversed_forms = forms(lambda e: [(text, e.prompt) for text in _wordings(e)])
    locality_forms = forms(lambda e: [(e.prompt, p.prompt) for p in e.locality])

    def filled(edit: Edit, forms: Iterable[str]) -> tuple[str, ...]:
        made: dict[str, str] = {}
        for form in forms:
            text = form.replace(SLOT, edit.subject)
            if same_wording(text) not in taken:
                made.setdefault(same_wording(text), text)
            if len(made) == most:
                break
        return tuple(made.values())

    def lent(edit: Edit, *sources: dict[str, list[str]]) -> tuple[str, ...]:
        candidates = []
        for templates in sources:
            more = list(templates[relations[edit.id]])
            random.Random(f"{seed} {edit.id}").shuffle(more)
            candidates += more
        return filled(edit, candidates)

    prompts = [
        TrainingPrompts(
            edit.paraphrases or lent(edit, paraphrase_forms, reversed_forms),
            edit.training_locality or lent(edit, locality_forms),
        )
        for edit in edits
    ]
    if embed:
        near = relations_of(embed, edits)
        for i, (edit, own, found) in enumerate(zip(edits, prompts, near, strict=True)):
            known, own = found.wordings(embed.same + LENDS), replace(own, nearest=found)
            if known:
                own = replace(own, later=tuple(found.relation.follow_up[1:]))
            room = most - len(own.paraphrases)
            if room > 0:
                prompts[i] = replace(own, common=filled(edit, known)[:room])
                continue
            asks = {text.endswith("?") for text in (edit.prompt, *own.paraphrases)}
            other = [form for form in known if form.endswith("?") not in asks]
            prompts[i] = replace(own, otherwise=filled(edit, other)[:OTHERWISE])
    pairs = list(zip(edits, prompts, strict=True))
    return prompts, PromptReport(
        edits=len(edits),
        made_paraphrases=sum(bool(p.paraphrases) and not e.paraphrases for e, p in pairs),
        common_paraphrases=sum(bool(p.common) for p in prompts),
        without_paraphrases=sum(not (p.paraphrases or p.common) for p in prompts),
        made_locality=sum(bool(p.locality) and not e.training_locality for e, p in pairs),
        without_locality=sum(not p.locality for p in prompts),
        few=tuple(e for e, p in pairs if not e.profile_of and p.few),
        prompts=tuple(prompts),
    )


def taken_wordings(edits: Iterable[Edit], pool: Iterable[Edit] = ()) -> frozenset[str]:
    """Texts, by `same_wording`, that no edit may be lent: those that ask for one of the edits, and
    what anyone, in the pool too, has held out."""
    edits = list(edits)
    held_out = frozenset[str]().union(*(edit.heldout_prompts for edit in (*edits, *pool)))
    asked = (text for edit in edits for text in (edit.prompt, *edit.paraphrases))
    return held_out.union(map(same_wording, asked))


def with_lent_paraphrases(
    edits: Sequence[Edit], pool: Iterable[Edit], *, most: int = 8, seed: int = 0
) -> EditSet:
    """The edits with their training paraphrases as their own, for editors that know no pool."""
    prompts, _ = training_prompts(edits, pool, most=most, seed=seed)
    pairs = zip(edits, prompts, strict=True)
    return EditSet(replace(edit, paraphrases=own.paraphrases) for edit, own in pairs)


def template(text: str, subject: str) -> str:
    """`text` with `{}` in place of the subject, in whatever case the subject stands there."""
    if subject in text:  # a pattern for each of many subjects takes long to make
        return text.replace(subject, SLOT)
    return re.sub(re.escape(subject), SLOT, text, flags=re.IGNORECASE)


def relations_of(embed: CachedEmbedder, edits: Sequence[Edit]) -> list[Nearest]:
    """The common relation nearest to each edit, of those that can have its target."""
    forms = [
        [template(text, edit.subject) for text in (edit.prompt, *edit.paraphrases[:COMPARED])]
        for edit in edits
    ]
    return nearest_relations(embed, forms, [edit.target for edit in edits])


def relation_template(edit: Edit) -> str:
    """Key of the edit's relation."""
    return same_text(template(edit.prompt, edit.subject))


def _wordings(edit: Edit) -> tuple[str, ...]:
    return (*edit.paraphrases, *edit.generality)


def _templates(
    edits: Iterable[Edit],
    relations: Collection[str],
    pairs: Callable[[Edit], Iterable[tuple[str, str]]],
) -> dict[str, list[str]]:
    """From pairs of texts of an edit, (asked, lent): by the first's template those of the second.

    Each stands once, in a fixed order; those of other relations are left out.
    """
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for edit in edits:
        own = list(pairs(edit))
        relation_of = {text: same_text(template(text, edit.subject)) for text, _ in own}
        for asked, lent in own:
            if relation_of[asked] in relations:
                form = template(lent, edit.subject)
                if SLOT in form:
                    found[relation_of[asked]][form] = None
    return defaultdict(list, {relation: list(forms) for relation, forms in found.items()})
