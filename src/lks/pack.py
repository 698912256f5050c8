"""Packs: trained edits as a folder of safetensors and JSON. Nothing in a pack is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lks import versions
from lks.edits import Edit, EditSet
from lks.errors import EditFileError, InputError, PackDamaged, PackMismatch
from lks.versions import HYPERNETWORK


@dataclass
class Pack:
    """Edits and their knowledge blocks.

    Attributes:
        blocks: [n, d] float32, one block an edit, in the order of `edits`.
        hypernetwork: the hypernetwork's state, to make blocks of further edits.
        base_model: the fingerprint of the backbone that the blocks were made for.
        form, kind, scale: how blocks are made and put in; see `hypernetwork.py`.
        training: a summary of the training: settings, losses, seconds.
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

    def check(self, fingerprint: dict[str, Any]) -> None:
        """Raise PackMismatch unless the pack was made for the backbone with this fingerprint."""
        made_for = self.base_model
        for key, what in (
            ("n_layers", "layers"), ("width", "width"), ("config", "configuration"),
            ("tokenizer", "tokenizer"), ("weights", "weights"),
        ):  # fmt: skip
            if made_for.get(key) != fingerprint[key]:
                numbers = key in ("n_layers", "width")
                detail = f" ({made_for.get(key)}, here {fingerprint[key]})" if numbers else ""
                raise PackMismatch(
                    f"the pack was made for {made_for.get('name')}, and {fingerprint['name']} has "
                    f"another {what}{detail}; load the model it was made for, or train a new pack"
                )

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the pack to a folder as version 1, whole or not at all.

        Raises:
            OutputError: there is something already, or the disk says no; nothing is changed then.
        """
        path = Path(path)
        versions.check_target(path, overwrite=overwrite)
        facts = {
            "base_model": self.base_model, "layers": [self.layer], "form": self.form,
            "hypernetwork": self.kind, "scale": self.scale, "training": self.training,
        }  # fmt: skip
        with versions.whole_folder(path) as folder:
            _save_part(folder, 1, self.edits, self.blocks)
            save_file(_storable(self.hypernetwork), folder / HYPERNETWORK)
            ids = [edit.id for edit in self.edits]
            versions.write_manifest(folder, versions.first_manifest(folder, facts, ids))

    @classmethod
    def load(cls, path: str | Path) -> Pack:
        """Read and verify a pack.

        Raises:
            PackError, PackDamaged, PackTooNew: as their names say.
        """
        path = Path(path)
        manifest = versions.verify(path)
        try:
            parts = [_load_part(path, part) for part in manifest["parts"]]
            return cls(
                EditSet(edit for edits, _ in parts for edit in edits),
                torch.cat([blocks for _, blocks in parts]),
                load_file(path / HYPERNETWORK), manifest["base_model"], manifest["layers"][0],
                manifest["form"], manifest["hypernetwork"], manifest["scale"], manifest["training"],
            )  # fmt: skip
        except (SafetensorError, KeyError, IndexError, EditFileError) as error:
            raise PackDamaged(
                f"{path}: cannot be read ({error}); restore it or train it again"
            ) from error


def append(path: str | Path, edits: EditSet, blocks: Tensor) -> dict[str, Any]:
    """Add edits and their blocks, [n, d], to a pack folder as a new version; the manifest.

    Raises:
        InputError: an id is in force there already.
        OutputError: the disk says no, or another process is at it; the pack is as it was then.
    """
    path = Path(path)

    def longer(manifest: dict[str, Any]) -> dict[str, Any]:
        taken = versions.live_ids(path, manifest) & {edit.id for edit in edits}
        if taken:
            raise InputError(f"{path}: holds {', '.join(sorted(taken))} already; remove it first")
        number = manifest["version"] + 1
        names = versions.part_names(number)
        _save_part(path, number, edits, blocks)
        for name in names.values():
            versions.to_disk(path / name)
        files = manifest["files"] | {n: versions.sha256(path / n) for n in names.values()}
        parts = [*manifest["parts"], names | {"removed": []}]
        return manifest | {
            "parts": parts, "files": files, "edits": manifest["edits"] + len(edits),
        }  # fmt: skip

    return versions.change(path, "add", [edit.id for edit in edits], longer)


def _save_part(folder: Path, number: int, edits: EditSet, blocks: Tensor) -> None:
    names = versions.part_names(number)
    edits.save(folder / names["edits"])
    ids = json.dumps([edit.id for edit in edits])
    save_file(_storable({"blocks": blocks}), folder / names["blocks"], {"ids": ids})


def _load_part(path: Path, part: dict[str, Any]) -> tuple[list[Edit], Tensor]:
    """Edits of one part that are in force, and their blocks."""
    blocks, edits = load_file(path / part["blocks"])["blocks"], versions.part_edits(path, part)
    if blocks.ndim != 2 or len(blocks) != len(edits):
        raise PackDamaged(f"{path}: {len(edits)} edits but blocks of shape {tuple(blocks.shape)}")
    live = {row: edit for row, edit in enumerate(edits) if edit is not None}
    return list(live.values()), blocks[list(live)]


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().contiguous().cpu() for key, value in tensors.items()}
