"""A pack's folder: manifest, hashes, versions. Without torch, so that small changes are instant.

A change never rewrites a file of tensors or edits: it adds files or leaves some edits out, and puts
a new manifest in place, which names the hash of the one before. Older manifests stay in `history/`,
so a rollback is a new version with an old list. Killed at any moment, a pack is the old version or
the new one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from lks.edits import profiles
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError, OutputError, PackDamaged, PackError, PackTooNew
from lks.files import contents, sha256, write_whole
from lks.packs.folder import MANIFEST, recover
from lks.packs.records import SCHEMA, Change, Manifest, Part, Tested
from lks.scope.config import PRESETS, ScopeConfig

HISTORY = "history"
PROFILE = b'"profile_of"'  # stands in a file of edits that holds profiles
LOCK_SECONDS = 10


def read(path: Path) -> Manifest:
    """The manifest of a pack; its files are not looked at.

    Raises:
        PackError, PackDamaged, PackTooNew: as their names say.
    """
    recover(path)
    if not (path / MANIFEST).is_file():
        raise PackError(f"{path}: not a pack (no {MANIFEST}); give the folder that lks edit wrote")
    return _parsed(path, path / MANIFEST)


def _parsed(path: Path, file: Path) -> Manifest:
    """What a manifest's file in a pack's folder holds; PackDamaged or PackTooNew."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        schema = record["schema"]
        if schema > SCHEMA:
            raise PackTooNew(
                f"{path}: schema {schema}, this package reads up to {SCHEMA}; update lks"
            )
        return Manifest.from_json(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackDamaged(
            f"{path}: {file.name} cannot be read; restore it or train it again"
        ) from error


def verify(path: str | Path, version: int | None = None) -> Manifest:
    """The manifest of a pack, every file of it and of its history checked against its hash.

    Args:
        version: an earlier one; else the present one.

    Raises:
        InputError: there is no such version.
    """
    path = Path(path)
    manifest = read(path) if version is None else _of_version(path, version)
    wrong = [_what_is_wrong(path / name, digest) for name, digest in manifest.files.items()]
    if told := [problem for problem in wrong if problem]:
        raise PackDamaged(f"{path}: {', '.join(told)}; restore it or train it again")
    parts = (name for part in manifest.parts for name in part.files)
    expected = {*manifest.scope.files, *parts}
    missing = sorted(expected - manifest.files.keys())
    if missing:
        raise PackDamaged(f"{path}: {MANIFEST} has no hash of {missing[0]}; restore or train again")
    history(path)
    return manifest


def _of_version(path: Path, version: int) -> Manifest:
    made = history(path)
    found = next((manifest for manifest in made if manifest.version == version), None)
    if found is None:
        latest = made[0].version
        raise InputError(f"{path}: no version {version}; there are 1 to {latest}")
    return found


def _what_is_wrong(file: Path, digest: str) -> str | None:
    if not file.is_file():
        return f"{file.name} is missing"
    return None if digest == sha256(file) else f"{file.name} is not what was saved (sha256 differs)"


def parts_of(manifest: Manifest) -> ScopeConfig:
    """What a pack's scope is made of; packs of earlier versions do not say, and have all parts.

    Raises:
        PackError: a part that this version has not.
    """
    if manifest.scope.parts is not None:
        return ScopeConfig.from_json(manifest.scope.parts, manifest.lks)
    return PRESETS["relation" if manifest.scope.gated else "entity"]


def history(path: str | Path) -> list[Manifest]:
    """The manifests of all versions, the newest first, each checked against its child's note."""
    path = Path(path)
    found = [read(path)]
    while (digest := found[-1].parent) is not None:
        older = path / HISTORY / f"{found[-1].version - 1}.json"
        if not older.is_file() or sha256(older) != digest:
            raise PackDamaged(
                f"{path}: {HISTORY}/{older.name} is missing or changed; restore it or train again"
            )
        found.append(_parsed(path, older))
    return found


def part_edits(path: Path, part: Part) -> list[Edit | None]:
    """The edits of one part in the order of their blocks, None for those that were removed."""
    removed = set(part.removed)
    edits = EditSet.load(path / part.edits, any_keys=True)
    return [None if edit.id in removed else edit for edit in edits]


def live_edits(path: Path, manifest: Manifest) -> EditSet:
    """The edits in force."""
    parts = (part_edits(path, part) for part in manifest.parts)
    return EditSet(edit for part in parts for edit in part if edit is not None)


def resting(path: Path, manifest: Manifest) -> list[Edit]:
    """Profiles that the pack holds and that are out of force (`lks.edits.profiles`)."""
    files = (path / part.edits for part in manifest.parts)
    if not any(PROFILE in contents(file) for file in files):
        return []  # reading many edits would take longer than the change
    held = live_edits(path, manifest)
    known = {edit.id for edit in profiles.in_force(held)}
    return [edit for edit in held if edit.id not in known]


def remove(path: str | Path, ids: Iterable[str]) -> Manifest:
    """A new version without these edits; InputError if one is not in force, and nothing changes."""
    path, gone = Path(path), list(dict.fromkeys(ids))
    note = Change.now("remove", gone)
    return change(path, lambda manifest: replace(without(path, manifest, gone), change=note))


def without(path: Path, manifest: Manifest, gone: Sequence[str]) -> Manifest:
    """The manifest with these edits left out; InputError if one is not in force."""
    left, parts = set(gone), []
    for part in manifest.parts:
        here = left & _part_ids(path, part)
        parts.append(replace(part, removed=tuple(sorted({*part.removed, *here}))))
        left -= here
    if left:
        names = ", ".join(f'"{edit_id}"' for edit_id in gone if edit_id in left)
        raise InputError(f"{path}: no edit {names} in force; lks pack edits lists them")
    tested = manifest.tested and {e: own for e, own in manifest.tested.items() if e not in gone}
    return replace(manifest, parts=tuple(parts), tested=tested)


def set_tested(path: str | Path, tested: Tested) -> Manifest:
    """A new version that tells what a self-test found of some edits."""
    note = Change.now("self-test")
    return change(
        Path(path),
        lambda manifest: replace(
            manifest, tested={**(manifest.tested or {}), **tested}, change=note
        ),
    )


def set_thresholds(
    path: str | Path, *, threshold: float | None = None, open_threshold: float | None = None
) -> Manifest:
    """A new version whose relation gate fires from these scores on; InputError without a gate.

    A threshold that is not given stays.
    """

    def changed(manifest: Manifest) -> Manifest:
        if not manifest.scope.gated:
            raise InputError(f"{path}: has no relation gate, so no thresholds; train it with one")
        scope = manifest.scope
        if threshold is not None:
            scope = replace(scope, threshold=threshold)
        if open_threshold is not None:
            scope = replace(scope, open_threshold=open_threshold)
        return replace(manifest, scope=scope, change=Change.now("threshold"))

    return change(Path(path), changed)


def rollback(path: str | Path, to: int | None = None) -> Manifest:
    """A new version with the edits of version `to`; else undo: one further back each time.

    Raises:
        InputError: there is no such version, or nothing left to undo.
    """
    path = Path(path)
    found = {manifest.version: manifest for manifest in history(path)}
    latest = max(found)
    target = _of_which(found, latest) - 1 if to is None else to
    if to is None and target < 1:
        raise InputError(
            f"{path}: nothing left to undo, it is as it was trained; "
            f"--to goes to any version, 1 to {latest}"
        )
    old, note = _of_version(path, target), Change.now(f"rollback to {target}", to=target)
    return change(
        path,
        lambda manifest: replace(
            manifest,
            parts=old.parts,
            files=old.files,
            training=old.training,
            scope=old.scope,
            tested=old.tested,
            change=note,
        ),
    )


def _of_which(found: dict[int, Manifest], version: int) -> int:
    """The version that a rollback, or one to a rollback, brought back; any other is its own."""
    while (to := found[version].change.to) is not None:
        version = to
    return version


def change(path: Path, make: Callable[[Manifest], Manifest]) -> Manifest:
    """Put the manifest that `make` makes from the present one in place, as a new version.

    `make` brings the note of the change; edits, the version and the parent are counted here.
    """
    read(path)  # nothing is written, not even a lock, where there is no pack
    try:
        with FileLock(path / ".lock", timeout=LOCK_SECONDS):
            present = read(path)
            made = make(present)
            held = sum(len(_part_ids(path, part)) for part in made.parts)
            made = replace(made, edits=held - len(resting(path, made)))
            (path / HISTORY).mkdir(exist_ok=True)
            kept = path / HISTORY / f"{present.version}.json"
            write_whole(kept, (path / MANIFEST).read_bytes())
            made = replace(made, version=present.version + 1, parent=sha256(kept))
            write_manifest(path, made)
            return made
    except Timeout as error:
        raise OutputError(f"{path}: another process is changing it; try again later") from error
    except (OSError, SafetensorError) as error:
        raise OutputError.at(path, error) from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False) + "\n"
    write_whole(path / MANIFEST, text.encode())


def _part_ids(path: Path, part: Part) -> set[str]:
    """Ids of the edits of one part that are in force."""
    try:
        with safe_open(path / part.blocks, framework="numpy") as stored:
            return set(json.loads(stored.metadata()["ids"])) - set(part.removed)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise PackDamaged(
            f"{path}: {part.blocks} cannot be read; restore it or train it again"
        ) from error
