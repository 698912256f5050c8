"""The bank: the knowledge blocks of all edits in force, as one tensor.

Shapes: n edits, m places, k edited layers, d the backbone's width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lks.blocks.forms import pooled, put_in
from lks.blocks.rows import Rows
from lks.model.engine.hook import Plan
from lks.scope.types import Verdict

BlockId = str | Verdict  # of an edit's own block, or of one that all share


@dataclass(frozen=True)
class Place:
    """Where a mention ends in a padded batch, and whose blocks belong there."""

    row: int
    column: int
    blocks: Sequence[BlockId]


@dataclass(frozen=True, eq=False)
class Bank:
    """Blocks of n edits. Never changed: `only` and `joined` make another bank.

    Attributes:
        blocks: on the backbone's device, [n, k, d]; more where edits were taken out.
        rows: which row is whose, by the edit's id.
        form, scale: how blocks are put in, see `forms.put_in`; the scale of each layer.
        verdicts: blocks that all edits share, [k, d] each.
    """

    blocks: Rows
    rows: Mapping[str, int]
    form: str
    scale: Sequence[float]
    verdicts: Mapping[Verdict, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, edit_ids: Iterable[str], blocks: Tensor, *, form: str, scale: Sequence[float]
    ) -> Bank:
        """A bank of blocks, [n, k, d], in the order of the ids."""
        return cls._of(edit_ids, Rows.of(blocks), form, scale)

    @classmethod
    def _of(cls, edit_ids: Iterable[str], blocks: Rows, form: str, scale: Sequence[float]) -> Bank:
        rows = {edit_id: row for row, edit_id in enumerate(edit_ids)}
        if len(rows) != len(blocks):
            raise ValueError(f"{len(rows)} edits, but {len(blocks)} blocks")
        return cls(blocks, rows, form, scale)

    def of_edits(self, edit_ids: Iterable[str]) -> Tensor:
        """Blocks of these edits, [p, k, d]; KeyError for an id that is not there."""
        return self._rows_of(edit_ids).all

    def _rows_of(self, edit_ids: Iterable[str]) -> Rows:
        rows = [self.rows[edit_id] for edit_id in edit_ids]
        return self.blocks[_whole(rows, self.blocks.device)]

    def only(self, edit_ids: Sequence[str]) -> Bank:
        """A bank of some of the edits, in this order."""
        return self._with(edit_ids, self._rows_of(edit_ids))

    def without(self, gone: Collection[str]) -> Bank:
        """The bank of the other edits, at once: their blocks lie where they lay."""
        kept = {edit_id: row for edit_id, row in self.rows.items() if edit_id not in gone}
        return replace(self, rows=kept)

    def joined(self, edit_ids: Sequence[str], blocks: Tensor) -> Bank:
        """A bank with the blocks of more edits, [p, k, d], behind those that are there."""
        own, new = self._rows_of(self.rows), Rows.of(blocks.to(self.blocks.device))
        return self._with([*self.rows, *edit_ids], own.joined(new))

    def judging(self, verdicts: Mapping[Verdict, Tensor]) -> Bank:
        """The same with blocks for yes and for no."""
        return replace(self, verdicts=verdicts)

    def _with(self, edit_ids: Iterable[str], blocks: Rows) -> Bank:
        return Bank._of(edit_ids, blocks, self.form, self.scale).judging(self.verdicts)

    def stored_bytes(self, edit_ids: Iterable[str]) -> int:
        """Of the blocks of these edits."""
        return self._rows_of(edit_ids).nbytes

    def pooled(self, places: Sequence[Sequence[BlockId]]) -> Tensor:
        """What the blocks of m places come to, [m, k, d]."""
        named = [name for own in places for name in own]
        members = self.of_edits(name for name in named if isinstance(name, str))
        shared = [self.verdicts[name] for name in named if isinstance(name, Verdict)]
        if shared:
            judged = torch.tensor([isinstance(name, Verdict) for name in named])
            own, members = members, members.new_empty(len(named), *members.shape[1:])
            members[~judged], members[judged] = own, torch.stack(shared)
        owner = [i for i, own in enumerate(places) for _ in own]
        return pooled(self.form, members, _whole(owner, self.blocks.device), len(places))

    def plans(self, batch: int, places: Sequence[Place]) -> list[Plan]:
        """For each layer the plan that puts blocks in at m places of a batch of so many texts."""
        rows, columns = [place.row for place in places], [place.column for place in places]
        own = self.pooled([place.blocks for place in places])
        return [
            plan(batch, rows, columns, own[:, layer], form=self.form, scale=scale)
            for layer, scale in enumerate(self.scale)
        ]


def plan(
    batch: int, rows: Sequence[int], columns: Sequence[int], own: Tensor, *, form: str, scale: float
) -> Plan:
    """The plan that puts the pooled blocks of m places, [m, d], in at one layer.

    What the blocks of a place come to is known before the model reads: only R is not.
    """

    def blocks(r: Tensor, at: Tensor) -> Tensor:
        return put_in(form, r.float(), own[at], scale)

    return Plan(batch, _whole(rows, own.device), _whole(columns, own.device), blocks)


def _whole(numbers: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long, device=device)
