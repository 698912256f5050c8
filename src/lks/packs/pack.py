"""Packs: trained edits as a folder of safetensors and JSON. Nothing in a pack is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lks import files as files_module
from lks.blocks.bank import Bank
from lks.blocks.hypernetwork import HyperNetwork
from lks.blocks.in_force import InForce
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.edits.profiles import in_force
from lks.errors import EditFileError, InputError, PackDamaged, PackMismatch
from lks.model.embedder import Embedder
from lks.model.fingerprint import Fingerprint
from lks.packs import learnt
from lks.packs import manifest as manifest_module
from lks.packs.folder import check_target, whole_folder
from lks.packs.gate import read_gate
from lks.packs.records import (
    GATE,
    HYPERNETWORK,
    SCHEMA,
    VERDICTS,
    Change,
    Correction,
    Manifest,
    Part,
    ScopeSettings,
    Tested,
)
from lks.packs.training_summary import TrainingSummary
from lks.scope.config import DEFAULT, ScopeConfig
from lks.scope.gate.metric import Exemplars, GateState
from lks.scope.scope import Scope
from lks.scope.types import Verdict


@dataclass
class Pack:
    """Edits and their knowledge blocks.

    Attributes:
        blocks: [n, k, d] float32, one block an edit and layer, in the order of `edits`; those that
            were trained are rounded, see `blocks.rows`.
        hypernetwork: the hypernetwork's state, to make blocks of further edits.
        base_model: the fingerprint of the backbone that the blocks were made for.
        layers: k, that the blocks belong to, in ascending order.
        form, kind, scale: how blocks are made and put in; see `forms.py`. The scale of each layer.
        training: how it was trained: settings, losses, seconds.
        gate: what the relation gate learnt, its references numbered as `edits`; None where every
            mention of an entity fires its edits.
        parts: what the scope is made of.
        verdicts: blocks of each `Verdict` in order, [2, k, d], if the gate judges.
        tested: what a self-test found; see `records.Manifest`.
    """

    edits: EditSet
    blocks: Tensor
    hypernetwork: dict[str, Tensor]
    base_model: Fingerprint
    layers: tuple[int, ...]
    form: str
    kind: str
    scale: tuple[float, ...]
    training: TrainingSummary
    gate: GateState | None = None
    parts: ScopeConfig = DEFAULT
    verdicts: Tensor | None = None
    tested: Tested | None = None

    def check(self, fingerprint: Fingerprint) -> None:
        """Raise PackMismatch unless the pack was made for the backbone with this fingerprint."""
        if other := self.base_model.difference(fingerprint):
            made_for, here = self.base_model.name, fingerprint.name
            has = " with" if made_for == here else f", and {here} has"
            raise PackMismatch(
                f"the pack was made for {made_for}{has} {other}; "
                "load the model it was made for, or train a new pack"
            )

    def in_force_with(self, embed: Embedder | None, device: torch.device) -> InForce:
        """What is in force with these edits.

        Args:
            embed: what the gate compares questions with.
            device: where the blocks are put in.
        """
        ids, blocks = [edit.id for edit in self.edits], self.blocks.to(device)
        bank = Bank.of(ids, blocks, form=self.form, scale=self.scale)
        if self.verdicts is not None:
            bank = bank.judging(dict(zip(Verdict, self.verdicts.to(device), strict=True)))
        return InForce.of(Scope(self.edits, config=self.parts), self.edits, bank, self.gate, embed)

    @torch.no_grad()
    def amortised(self, features: Tensor) -> Tensor:
        """What the trained hypernetwork makes of edits' features, [n, d] -> [n, k, d]."""
        width = features.shape[-1]
        hypernetwork = HyperNetwork(width, self.kind, layers=len(self.layers))
        hypernetwork.load_state_dict(self.hypernetwork)
        blocks: Tensor = hypernetwork.to(features.device)(features)
        scale = torch.tensor(self.scale, device=features.device)[:, None]
        return blocks * scale if self.form == "residual" else blocks

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the pack to a folder as version 1, whole or not at all.

        Raises:
            OutputError: there is something already, or the disk says no; nothing is changed then.
        """
        path = Path(path)
        check_target(path, overwrite=overwrite)
        with whole_folder(path) as folder:
            exemplars = self.gate.exemplars if self.gate else None
            part = _save_part(folder, Part.of_version(1), self.edits, self.blocks, exemplars)
            if self.gate:
                learnt.save_arrays(self.gate.metric.stored(), folder / GATE)
            save_file(_storable(self.hypernetwork), folder / HYPERNETWORK)
            if self.verdicts is not None:
                named = dict(zip((own.value for own in Verdict), self.verdicts, strict=True))
                save_file(_storable(named), folder / VERDICTS)
            manifest = Manifest.first(
                folder,
                part,
                [edit.id for edit in self.edits],
                base_model=self.base_model,
                layers=self.layers,
                form=self.form,
                hypernetwork=self.kind,
                scale=self.scale,
                training=self.training,
                scope=_scope(self.gate, self.parts),
                edits=len(in_force(self.edits)),
                tested=self.tested,
            )
            manifest_module.write_manifest(folder, manifest)

    @classmethod
    def load(cls, path: str | Path) -> Pack:
        """Read and verify a pack.

        Raises:
            PackError, PackDamaged, PackTooNew: as their names say.
        """
        path = Path(path)
        manifest = manifest_module.verify(path)
        try:
            k = len(manifest.layers)
            parts = [_load_part(path, part, k) for part in manifest.parts]
            edits = EditSet(edit for part in parts for edit in part.edits)
            held = sum(len(part.edits) for part in parts)
            if len(edits) < held:  # as an earlier `append` left it
                raise PackDamaged(f"{path}: has two edits of one prompt; lks remove one of them")
            return cls(
                edits=edits,
                blocks=torch.cat([part.blocks for part in parts]),
                hypernetwork=load_file(path / HYPERNETWORK),
                base_model=manifest.base_model,
                layers=manifest.layers,
                form=manifest.form,
                kind=manifest.hypernetwork,
                scale=manifest.scale,
                training=manifest.training,
                gate=read_gate(path, manifest, [part.rows for part in parts]),
                parts=manifest_module.parts_of(manifest),
                verdicts=_verdicts(path) if manifest.scope.judges else None,
                tested=manifest.tested,
            )
        except (SafetensorError, KeyError, IndexError, EditFileError) as error:
            raise PackDamaged(
                f"{path}: cannot be read ({error}); restore it or train it again"
            ) from error


def append(
    path: str | Path,
    edits: EditSet,
    blocks: Tensor,
    exemplars: Exemplars | None = None,
    tested: Tested | None = None,
    *,
    action: str = "add",
) -> Manifest:
    """Add edits and their blocks, [n, k, d], to a pack folder as a new version; the manifest.

    An edit takes the place of the one in force with its id, and of one that gives its prompt
    another target; where they differ the log has the old target and the new one.

    Args:
        exemplars: of the relation gate, where the pack has one.
        tested: what a self-test found of these edits.
        action: what the log calls it.

    Raises:
        InputError: the exemplars are missing.
        OutputError: the disk says no, or another process is at it; the pack is as it was then.
    """
    path = Path(path)

    def longer(manifest: Manifest) -> Manifest:
        if manifest.scope.gated and exemplars is None:
            raise InputError(f"{path}: has a relation gate; give the exemplars of new edits too")
        now = {edit.id: edit for edit in edits} | {edit.question: edit for edit in edits}
        live = manifest_module.live_edits(path, manifest)
        pairs = [(old, new) for old in live if (new := now.get(old.id) or now.get(old.question))]
        if pairs:
            manifest = manifest_module.without(path, manifest, [old.id for old, _ in pairs])
        part = Part.of_version(manifest.version + 1)
        part = _save_part(path, part, edits, blocks, exemplars)
        for name in part.files:
            files_module.to_disk(path / name)
        ids = [edit.id for edit in edits]
        replaced = [_correction(old, new) for old, new in pairs if old != new]
        return replace(
            manifest,
            schema=SCHEMA,
            parts=(*manifest.parts, part),
            files={**manifest.files, **{n: files_module.sha256(path / n) for n in part.files}},
            tested=manifest.tested if tested is None else {**(manifest.tested or {}), **tested},
            change=Change.now(action, ids, replaced=replaced),
        )

    return manifest_module.change(path, longer)


def _correction(old: Edit, new: Edit) -> Correction:
    """What the log says of an edit that another one takes the place of."""
    return Correction(id=old.id, target=old.target, by=new.id, new_target=new.target)


@dataclass(frozen=True)
class _Part:
    """The edits of one part that are in force, where they stand in it, and their blocks."""

    edits: list[Edit]
    rows: list[int]
    blocks: Tensor


def _scope(gate: GateState | None, parts: ScopeConfig) -> ScopeSettings:
    """How the manifest describes the scope."""
    if gate is None:
        return ScopeSettings(parts=parts.to_json())
    return ScopeSettings(
        "relation",
        gate.metric.threshold,
        gate.metric.open_threshold,
        gate.embedder,
        gate.fingerprint,
        parts.to_json(),
        gate.judges,
    )


def _verdicts(path: Path) -> Tensor:
    """Blocks for yes and for no, [2, k, d]."""
    stored = load_file(path / VERDICTS)
    return torch.stack([stored[own.value] for own in Verdict])


def _save_part(
    folder: Path, part: Part, edits: EditSet, blocks: Tensor, exemplars: Exemplars | None
) -> Part:
    """Write a part's files; the part, which tells how they are stored."""
    edits.save(folder / part.edits)
    ids = json.dumps([edit.id for edit in edits])
    return replace(part, stored=learnt.save(folder / part.blocks, blocks, exemplars, {"ids": ids}))


def _load_part(path: Path, part: Part, k: int) -> _Part:
    edits = manifest_module.part_edits(path, part)
    with safe_open(path / part.blocks, "numpy") as stored:
        blocks = learnt.blocks_in(stored)
    if blocks.ndim != 3 or blocks.shape[:2] != (len(edits), k):
        raise PackDamaged(f"{path}: {len(edits)} edits but blocks of shape {tuple(blocks.shape)}")
    live = {row: edit for row, edit in enumerate(edits) if edit is not None}
    return _Part(list(live.values()), list(live), blocks[list(live)])


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().contiguous().cpu() for key, value in tensors.items()}
