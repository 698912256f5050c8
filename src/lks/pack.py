"""Packs: trained edits as a folder of safetensors and JSON. Nothing in a pack is executed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lks.edits import EditSet
from lks.errors import EditFileError, OutputError, PackDamaged, PackError, PackMismatch, PackTooNew

SCHEMA = 1
MANIFEST, EDITS, BLOCKS, HYPERNETWORK = (
    "manifest.json", "edits.jsonl", "blocks.safetensors", "hypernetwork.safetensors",
)  # fmt: skip


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
        """Write the pack to a folder, whole or not at all.

        Raises:
            OutputError: there is something already, or the disk says no; nothing is changed then.
        """
        path = Path(path)
        check_target(path, overwrite=overwrite)
        with _whole_folder(path) as folder:
            self.edits.save(folder / EDITS)
            save_file({"blocks": self.blocks.contiguous().cpu()}, folder / BLOCKS)
            state = {key: value.contiguous().cpu() for key, value in self.hypernetwork.items()}
            save_file(state, folder / HYPERNETWORK)
            manifest = {
                "schema": SCHEMA,
                "version": version("latent-knowledge-scalpel"),
                "base_model": self.base_model,
                "layers": [self.layer],
                "form": self.form,
                "hypernetwork": self.kind,
                "scale": self.scale,
                "edits": len(self.edits),
                "training": self.training,
                "files": {name: _sha256(folder / name) for name in (EDITS, BLOCKS, HYPERNETWORK)},
            }
            text = json.dumps(manifest, indent=2, ensure_ascii=False)
            (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Pack:
        """Read and verify a pack.

        Raises:
            PackError, PackDamaged, PackTooNew: as their names say.
        """
        path = Path(path)
        manifest = verify(path)
        try:
            blocks = load_file(path / BLOCKS)["blocks"]
            state = load_file(path / HYPERNETWORK)
            edits = EditSet.load(path / EDITS)
            if blocks.ndim != 2 or len(blocks) != len(edits):
                raise PackDamaged(
                    f"{path}: {len(edits)} edits but blocks of shape {tuple(blocks.shape)}"
                )
            return cls(
                edits, blocks, state, manifest["base_model"], manifest["layers"][0],
                manifest["form"], manifest["hypernetwork"], manifest["scale"], manifest["training"],
            )  # fmt: skip
        except (SafetensorError, KeyError, IndexError, EditFileError) as error:
            raise PackDamaged(
                f"{path}: cannot be read ({error}); restore it or train it again"
            ) from error


def verify(path: str | Path) -> dict[str, Any]:
    """The manifest of a pack, every file checked against its hash."""
    path = Path(path)
    if not path.exists() and _previous(path).exists():
        _previous(path).rename(path)  # a crash came between the two renames of a save
    if not (path / MANIFEST).is_file():
        raise PackError(f"{path}: not a pack (no {MANIFEST}); give the folder that lks edit wrote")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        schema, files = manifest["schema"], manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise PackDamaged(
            f"{path}: {MANIFEST} cannot be read; restore it or train it again"
        ) from error
    if schema > SCHEMA:
        raise PackTooNew(f"{path}: schema {schema}, this package reads up to {SCHEMA}; update lks")
    for name in (EDITS, BLOCKS, HYPERNETWORK):
        if not (path / name).is_file():
            raise PackDamaged(f"{path}: {name} is missing; restore it or train it again")
        if files.get(name) != _sha256(path / name):
            raise PackDamaged(
                f"{path}: {name} is not what was saved (sha256 differs); restore it or train again"
            )
    return manifest


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless a pack can be written at `path`."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        if not (path / MANIFEST).is_file():
            raise OutputError(f"{path}: exists and is not a pack; choose another place")
        if not overwrite:
            raise OutputError(
                f"{path}: there is a pack already; choose another place or --overwrite"
            )
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.absolute().parent):
            pass
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` when the block ends well."""
    path = path.absolute()
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        if path.exists():
            shutil.rmtree(_previous(path), ignore_errors=True)
            path.rename(_previous(path))
        temporary.chmod(0o755)
        temporary.rename(path)
        shutil.rmtree(_previous(path), ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unwritable(path: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(
        f"{path}: cannot be written ({reason}); free some space or choose another place"
    )


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.previous")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
