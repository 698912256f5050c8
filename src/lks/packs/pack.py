"""Packs: trained edits as a folder of safetensors and JSON. Nothing in a pack is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from lks import files as files_module
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError, InputError, PackDamaged, PackMismatch
from lks.model.fingerprint import difference
from lks.packs import manifest as manifest_module
from lks.packs.gate import REFERENCES, read_gate
from lks.packs.manifest import GATE, HYPERNETWORK
from lks.scope.config import DEFAULT, ScopeConfig
from lks.scope.gate.metric import Exemplars, GateState


@dataclass
class Pack:
    """Edits and their knowledge blocks.

    Attributes:
        blocks: [n, d] float32, one block an edit, in the order of `edits`.
        hypernetwork: the hypernetwork's state, to make blocks of further edits.
        base_model: the fingerprint of the backbone that the blocks were made for.
        form, kind, scale: how blocks are made and put in; see `hypernetwork.py`.
        training: a summary of the training: settings, losses, seconds.
        gate: what the relation gate learnt, its references numbered as `edits`; None where every
            mention of an entity fires its edits.
        parts: what the scope is made of.
    """

    edits: EditSet
    blocks: Tensor
    hypernetwork: dict[str, Tensor]
    base_model: dict[str, Any]
    layer: int
    form: str
    kind: str
    scale: float
    training: dict[str, Any]
    gate: GateState | None = None
    parts: ScopeConfig = DEFAULT

    def check(self, fingerprint: dict[str, Any]) -> None:
        """Raise PackMismatch unless the pack was made for the backbone with this fingerprint."""
        if other := difference(self.base_model, fingerprint):
            made_for, here = self.base_model.get("name"), fingerprint["name"]
            has = " with" if made_for == here else f", and {here} has"
            raise PackMismatch(
                f"the pack was made for {made_for}{has} {other}; "
                "load the model it was made for, or train a new pack"
            )

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the pack to a folder as version 1, whole or not at all.

        Raises:
            OutputError: there is something already, or the disk says no; nothing is changed then.
        """
        path = Path(path)
        manifest_module.check_target(path, overwrite=overwrite)
        facts = {
            "base_model": self.base_model, "layers": [self.layer], "form": self.form,
            "hypernetwork": self.kind, "scale": self.scale, "training": self.training,
            "scope": _scope(self.gate, self.parts),
        }  # fmt: skip
        with manifest_module.whole_folder(path) as folder:
            exemplars = self.gate.exemplars if self.gate else None
            _save_part(folder, 1, self.edits, self.blocks, exemplars)
            if self.gate:
                metric = self.gate.metric
                arrays = {"matrix": metric.matrix, "open_ended": metric.open_ended}
                save_arrays(arrays, folder / GATE)
            save_file(_storable(self.hypernetwork), folder / HYPERNETWORK)
            ids = [edit.id for edit in self.edits]
            manifest_module.write_manifest(
                folder, manifest_module.first_manifest(folder, facts, ids)
            )

    @classmethod
    def load(cls, path: str | Path) -> Pack:
        """Read and verify a pack.

        Raises:
            PackError, PackDamaged, PackTooNew: as their names say.
        """
        path = Path(path)
        manifest = manifest_module.verify(path)
        try:
            parts = [_load_part(path, part) for part in manifest["parts"]]
            edits = EditSet(edit for part in parts for edit in part.edits)
            if len(edits) < manifest["edits"]:  # as an earlier `append` left it
                raise PackDamaged(f"{path}: has two edits of one prompt; lks remove one of them")
            return cls(
                edits, torch.cat([part.blocks for part in parts]),
                load_file(path / HYPERNETWORK), manifest["base_model"], manifest["layers"][0],
                manifest["form"], manifest["hypernetwork"], manifest["scale"], manifest["training"],
                read_gate(path, manifest, [part.rows for part in parts]),
                manifest_module.parts_of(manifest),
            )  # fmt: skip
        except (SafetensorError, KeyError, IndexError, EditFileError) as error:
            raise PackDamaged(
                f"{path}: cannot be read ({error}); restore it or train it again"
            ) from error


def append(
    path: str | Path, edits: EditSet, blocks: Tensor, exemplars: Exemplars | None = None
) -> dict[str, Any]:
    """Add edits and their blocks, [n, d], to a pack folder as a new version; the manifest.

    An edit takes the place of the one in force with its id, and of one that gives its prompt
    another target; the log has the old target and the new one.

    Args:
        references: of the relation gate, where the pack has one.

    Raises:
        InputError: the references are missing.
        OutputError: the disk says no, or another process is at it; the pack is as it was then.
    """
    path = Path(path)

    def longer(manifest: dict[str, Any]) -> dict[str, Any]:
        gated = manifest.get("scope", {}).get("kind") == "relation"
        if gated and exemplars is None:
            raise InputError(f"{path}: has a relation gate; give the references of new edits too")
        now = {edit.id: edit for edit in edits} | {edit.question: edit for edit in edits}
        pairs = [
            (old, new) for old in manifest_module.live_edits(path, manifest)
            if (new := now.get(old.id) or now.get(old.question))
        ]  # fmt: skip
        if pairs:
            manifest = manifest_module.without(path, manifest, [old.id for old, _ in pairs])
        number = manifest["version"] + 1
        names = manifest_module.part_names(number)
        _save_part(path, number, edits, blocks, exemplars)
        for name in names.values():
            files_module.to_disk(path / name)
        files = manifest["files"] | {n: files_module.sha256(path / n) for n in names.values()}
        parts = [*manifest["parts"], names | {"removed": []}]
        return manifest | {
            "parts": parts, "files": files, "edits": manifest["edits"] + len(edits),
            "told": {"replaced": list(starmap(_correction, pairs[: manifest_module.NAMED]))}
            if pairs else {},
        }  # fmt: skip

    return manifest_module.change(path, "add", [edit.id for edit in edits], longer)


def _correction(old: Edit, new: Edit) -> dict[str, str]:
    """What the log says of an edit that another one takes the place of."""
    return {"id": old.id, "target": old.target, "by": new.id, "new_target": new.target}


@dataclass(frozen=True)
class _Part:
    """The edits of one part that are in force, where they stand in it, and their blocks."""

    edits: list[Edit]
    rows: list[int]
    blocks: Tensor


def _scope(gate: GateState | None, parts: ScopeConfig) -> dict[str, Any]:
    """How the manifest describes the scope."""
    if gate is None:
        return {"kind": "entity", "parts": parts.to_json()}
    return {
        "kind": "relation", "threshold": gate.metric.threshold,
        "open_threshold": gate.metric.open_threshold,
        "embedder": gate.embedder, "fingerprint": gate.fingerprint, "parts": parts.to_json(),
    }  # fmt: skip


def _save_part(
    folder: Path, number: int, edits: EditSet, blocks: Tensor, exemplars: Exemplars | None
) -> None:
    names = manifest_module.part_names(number)
    edits.save(folder / names["edits"])
    ids = json.dumps([edit.id for edit in edits])
    tensors = {"blocks": blocks}
    if exemplars is not None:
        found = asdict(exemplars).items()
        tensors |= {f"{REFERENCES}{key}": torch.from_numpy(value) for key, value in found}
    save_file(_storable(tensors), folder / names["blocks"], {"ids": ids})


def _load_part(path: Path, part: dict[str, Any]) -> _Part:
    edits = manifest_module.part_edits(path, part)
    with safe_open(path / part["blocks"], "pt") as stored:
        blocks = stored.get_tensor("blocks")
    if blocks.ndim != 2 or len(blocks) != len(edits):
        raise PackDamaged(f"{path}: {len(edits)} edits but blocks of shape {tuple(blocks.shape)}")
    live = {row: edit for row, edit in enumerate(edits) if edit is not None}
    return _Part(list(live.values()), list(live), blocks[list(live)])


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().contiguous().cpu() for key, value in tensors.items()}
