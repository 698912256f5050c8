"""A pack's folder: manifest, hashes, versions. Without torch, so that small changes are instant.

A change never rewrites a file of tensors or edits: it adds files or leaves some edits out, and puts
a new manifest in place, which names the hash of the one before. Older manifests stay in `history/`,
so a rollback is a new version with an old list. Killed at any moment, a pack is the old version or
the new one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError, OutputError, PackDamaged, PackError, PackTooNew
from lks.files import sha256, to_disk, write_whole
from lks.scope.config import PRESETS, ScopeConfig

SCHEMA = 2  # 1: no scope of its own, every mention fires
MANIFEST, HYPERNETWORK, HISTORY = "manifest.json", "hypernetwork.safetensors", "history"
GATE = "gate.safetensors"
LOCK_SECONDS = 10
NAMED = 20  # edits named in a line of the history
Manifest = dict[str, Any]


def part_names(number: int) -> dict[str, str]:
    """Names of the files that version `number` brings: its edits and their blocks."""
    suffix = "" if number == 1 else f"-{number}"
    return {"edits": f"edits{suffix}.jsonl", "blocks": f"blocks{suffix}.safetensors"}


def first_manifest(folder: Path, facts: Manifest, ids: Sequence[str]) -> Manifest:
    """Manifest of a new pack whose files stand in `folder`; `facts` are of the pack as a whole."""
    names = part_names(1)
    whole = _whole_names(facts)
    files = {name: sha256(folder / name) for name in (*names.values(), *whole)}
    manifest = {"schema": SCHEMA, "lks": version("latent-knowledge-scalpel"), **facts}
    manifest |= {"parts": [names | {"removed": []}], "files": files, "edits": len(ids)}
    return manifest | {"version": 1, "parent": None, "change": _change("train", ids)}


def read(path: Path) -> Manifest:
    """The manifest of a pack; its files are not looked at.

    Raises:
        PackError, PackDamaged, PackTooNew: as their names say.
    """
    if not path.exists() and _previous(path).exists():
        _previous(path).rename(path)  # a crash came between the two renames of a save
    if not (path / MANIFEST).is_file():
        raise PackError(f"{path}: not a pack (no {MANIFEST}); give the folder that lks edit wrote")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        schema = manifest["schema"]
        if schema > SCHEMA:
            raise PackTooNew(
                f"{path}: schema {schema}, this package reads up to {SCHEMA}; update lks"
            )
        for key in ("version", "parts", "files", "edits", "parent", "change"):
            manifest[key]
    except (ValueError, KeyError, TypeError) as error:
        raise PackDamaged(
            f"{path}: {MANIFEST} cannot be read; restore it or train it again"
        ) from error
    return manifest


def verify(path: str | Path) -> Manifest:
    """The manifest of a pack, every file of it and of its history checked against its hash."""
    path = Path(path)
    manifest = read(path)
    for name, digest in manifest["files"].items():
        if not (path / name).is_file():
            raise PackDamaged(f"{path}: {name} is missing; restore it or train it again")
        if digest != sha256(path / name):
            raise PackDamaged(
                f"{path}: {name} is not what was saved (sha256 differs); restore it or train again"
            )
    expected = {
        *_whole_names(manifest),
        *(part[key] for part in manifest["parts"] for key in part_names(1)),
    }
    missing = sorted(expected - manifest["files"].keys())
    if missing:
        raise PackDamaged(f"{path}: {MANIFEST} has no hash of {missing[0]}; restore or train again")
    history(path)
    return manifest


def _whole_names(manifest: Manifest) -> list[str]:
    """Files that belong to the pack as a whole."""
    gated = manifest.get("scope", {}).get("kind") == "relation"
    return [HYPERNETWORK, GATE] if gated else [HYPERNETWORK]


def parts_of(manifest: Manifest) -> ScopeConfig:
    """What a pack's scope is made of; packs of earlier versions do not say, and have all parts.

    Raises:
        PackError: a part that this version has not.
    """
    scope = manifest.get("scope", {})
    if "parts" in scope:
        return ScopeConfig.from_json(scope["parts"], manifest["lks"])
    return PRESETS["relation" if scope.get("kind") == "relation" else "entity"]


def history(path: str | Path) -> list[Manifest]:
    """The manifests of all versions, the newest first, each checked against its child's note."""
    path = Path(path)
    found = [read(path)]
    while (digest := found[-1]["parent"]) is not None:
        older = path / HISTORY / f"{found[-1]['version'] - 1}.json"
        if not older.is_file() or sha256(older) != digest:
            raise PackDamaged(
                f"{path}: {HISTORY}/{older.name} is missing or changed; restore it or train again"
            )
        found.append(json.loads(older.read_text(encoding="utf-8")))
    return found


def part_edits(path: Path, part: Manifest) -> list[Edit | None]:
    """The edits of one part in the order of their blocks, None for those that were removed."""
    removed = set(part["removed"])
    edits = EditSet.load(path / part["edits"], any_keys=True)
    return [None if edit.id in removed else edit for edit in edits]


def live_edits(path: Path, manifest: Manifest) -> EditSet:
    """The edits in force."""
    parts = (part_edits(path, part) for part in manifest["parts"])
    return EditSet(edit for part in parts for edit in part if edit is not None)


def live_ids(path: Path, manifest: Manifest) -> set[str]:
    """Ids of the edits in force; much quicker than reading the edits."""
    return set().union(*(_part_ids(path, part) for part in manifest["parts"]))


def remove(path: str | Path, ids: Iterable[str]) -> Manifest:
    """A new version without these edits; InputError if one is not in force, and nothing changes."""
    path, gone = Path(path), list(dict.fromkeys(ids))
    return change(path, "remove", gone, lambda manifest: without(path, manifest, gone))


def without(path: Path, manifest: Manifest, gone: Sequence[str]) -> Manifest:
    """The manifest with these edits left out; InputError if one is not in force."""
    left, parts = set(gone), []
    for part in manifest["parts"]:
        here = left & _part_ids(path, part)
        parts.append(part | {"removed": sorted({*part["removed"], *here})})
        left -= here
    if left:
        names = ", ".join(f'"{edit_id}"' for edit_id in gone if edit_id in left)
        raise InputError(f"{path}: no edit {names} in force; see edits*.jsonl there")
    return manifest | {"parts": parts, "edits": manifest["edits"] - len(gone)}


def set_thresholds(path: str | Path, **thresholds: float) -> Manifest:
    """A new version whose relation gate fires from these scores on; InputError without a gate."""

    def changed(manifest: Manifest) -> Manifest:
        scope = manifest.get("scope", {})
        if scope.get("kind") != "relation":
            raise InputError(f"{path}: has no relation gate, so no thresholds; train it with one")
        return manifest | {"scope": scope | thresholds}

    return change(Path(path), "threshold", [], changed)


def rollback(path: str | Path, to: int | None = None) -> Manifest:
    """A new version with the edits of version `to`; else undo: one further back each time.

    Raises:
        InputError: there is no such version, or nothing left to undo.
    """
    path = Path(path)
    found = {manifest["version"]: manifest for manifest in history(path)}
    latest = max(found)
    target = _of_which(found, latest) - 1 if to is None else to
    if to is None and target < 1:
        raise InputError(
            f"{path}: nothing left to undo, it is as it was trained; "
            f"--to goes to any version, 1 to {latest}"
        )
    if target not in found:
        raise InputError(f"{path}: no version {target}; there are 1 to {latest}")
    old = found[target]
    keys = ("parts", "files", "edits", "training", "scope")
    kept = {key: old[key] for key in keys if key in old} | {"told": {"to": target}}
    return change(path, f"rollback to {target}", [], lambda manifest: manifest | kept)


def _of_which(found: dict[int, Manifest], version: int) -> int:
    """The version that a rollback, or one to a rollback, brought back; any other is its own."""
    while (to := found[version]["change"].get("to")) is not None:
        version = to
    return version


def change(
    path: Path, action: str, ids: Sequence[str], make: Callable[[Manifest], Manifest]
) -> Manifest:
    """Put the manifest that `make` makes from the present one in place, as a new version.

    What it holds under "told" goes into the note of the change.
    """
    read(path)  # nothing is written, not even a lock, where there is no pack
    try:
        with FileLock(path / ".lock", timeout=LOCK_SECONDS):
            present = read(path)
            number = present["version"]
            made = make(present) | {"version": number + 1}
            made["change"] = _change(action, ids) | made.pop("told", {})
            (path / HISTORY).mkdir(exist_ok=True)
            kept = path / HISTORY / f"{number}.json"
            write_whole(kept, (path / MANIFEST).read_bytes())
            made["parent"] = sha256(kept)
            write_manifest(path, made)
            return made
    except Timeout as error:
        raise OutputError(f"{path}: another process is changing it; try again later") from error
    except (OSError, SafetensorError) as error:
        raise OutputError.at(path, error) from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    write_whole(path / MANIFEST, text.encode())


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless a pack can be written at `path`."""
    whole = path.resolve()  # what a link stands for; "." alone would count as a mount point
    if whole.is_mount():  # a folder cannot take its place
        raise OutputError(f"{path}: is a mount point; choose a folder inside it, {path / 'pack'}")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        if not (path / MANIFEST).is_file():
            raise OutputError(f"{path}: exists and is not a pack; choose another place")
        if not overwrite:
            raise OutputError(
                f"{path}: there is a pack already; choose another place or --overwrite"
            )
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{whole.name}-", dir=whole.parent):
            pass
    except OSError as error:
        raise OutputError.at(path, error) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` when the block ends well."""
    path = path.resolve()
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        for file in temporary.iterdir():
            to_disk(file)
        if path.exists():
            shutil.rmtree(_previous(path), ignore_errors=True)
            path.rename(_previous(path))
        temporary.chmod(0o755)
        temporary.rename(path)
        shutil.rmtree(_previous(path), ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise OutputError.at(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.previous")


def _part_ids(path: Path, part: Manifest) -> set[str]:
    """Ids of the edits of one part that are in force."""
    try:
        with safe_open(path / part["blocks"], framework="numpy") as stored:
            return set(json.loads(stored.metadata()["ids"])) - set(part["removed"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise PackDamaged(
            f"{path}: {part['blocks']} cannot be read; restore it or train it again"
        ) from error


def _change(action: str, ids: Sequence[str]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"action": action, "count": len(ids), "edits": list(ids[:NAMED]), "at": now}
