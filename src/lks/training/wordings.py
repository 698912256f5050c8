"""What there is of ways to ask for each fact, and a file of facts with more of them proposed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lks.edits.edit import Edit
from lks.edits.records import records
from lks.json_record import JsonObject
from lks.model.embedder import CachedEmbedder
from lks.training.prompts import PromptReport, TrainingPrompts, training_prompts
from lks.training.templates import Nearest

PROPOSED = 8  # most new wordings of a fact


@dataclass(frozen=True)
class Wordings:
    """Ways to ask for a fact beside its prompt, by where they come from.

    Attributes:
        prompts: those that training has: the edit's own or lent ones, and those of the bank.
        nearest: the relation of the bank nearest to the prompt; it lends if it is near enough.
        rephrased: what a model proposes.
    """

    edit: Edit
    prompts: TrainingPrompts
    nearest: Nearest
    rephrased: tuple[str, ...] = ()

    @property
    def lent(self) -> tuple[str, ...]:
        """Those that other edits lend."""
        return () if self.edit.paraphrases else self.prompts.paraphrases

    @property
    def known(self) -> tuple[str, ...]:
        """All that training has."""
        return (*self.prompts.paraphrases, *self.prompts.common)

    @property
    def proposed(self) -> tuple[str, ...]:
        """At most `PROPOSED` that the edit itself does not bring; those of a model come first,
        since training takes the others without being told."""
        return (*self.rephrased, *self.lent, *self.prompts.common)[:PROPOSED]

    def to_json(self) -> JsonObject:
        """What `lks wordings --json` prints of a fact."""
        relation = self.nearest.relation
        return {
            "id": self.edit.id,
            "subject": self.edit.subject,
            "prompt": self.edit.prompt,
            "own": list(self.edit.paraphrases),
            "lent": list(self.lent),
            "bank": list(self.prompts.common),
            "nearest": {"relation": relation.title, "cosine": round(self.nearest.cosine, 3)},
            "rephrased": list(self.rephrased),
        }


def wordings_of(
    edits: Sequence[Edit], embed: CachedEmbedder
) -> tuple[list[Wordings], PromptReport]:
    """The wordings of each edit, as training finds them, and how they came about."""
    prompts, report = training_prompts(edits, embed=embed, most=PROPOSED)
    pairs = zip(edits, prompts, strict=True)
    return [Wordings(edit, own, own.nearest) for edit, own in pairs if own.nearest], report


def with_proposed(path: Path, found: Iterable[Wordings]) -> list[JsonObject]:
    """The records of a file of edits, with `paraphrases` that hold the proposed wordings too.

    All other keys stay as they are, and so do records of edits that are not among `found`.
    """
    known = {one.edit: one for one in found}
    rows: list[JsonObject] = []
    record: Any  # an object: else there would be no edit of it
    for _, record in records(path, []):
        one = known.get(Edit.from_record(record))
        if one and one.proposed:
            record = record | {"paraphrases": [*one.edit.paraphrases, *one.proposed]}
        rows.append(record)
    return rows
