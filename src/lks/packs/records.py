"""What a pack's manifest holds. Without torch, so that small changes are instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lks.files import sha256
from lks.json_record import JsonObject, KeptRecord
from lks.model.fingerprint import Fingerprint
from lks.packs.training_summary import TrainingSummary

# 1: no scope of its own, every mention fires; 2: one layer, none in 8 bits, edits not packed.
SCHEMA = 3
LOGGED = 20  # edits named in a line of the history
Tested = Mapping[str, Sequence[str]]  # of edits by id, the wordings that failed a self-test
HYPERNETWORK, GATE = "hypernetwork.safetensors", "gate.safetensors"
VERDICTS = "verdicts.safetensors"


@dataclass(frozen=True)
class Part(KeptRecord):
    """What one version brought.

    Attributes:
        edits, blocks: names of its files.
        removed: ids that are out of force since.
        stored: the type of numbers in which the `blocks` and the `references` of the gate are, such
            as int8; early packs do not tell.
    """

    edits: str
    blocks: str
    removed: tuple[str, ...]
    stored: Mapping[str, str] | None = None

    @classmethod
    def of_version(cls, number: int) -> Part:
        suffix = "" if number == 1 else f"-{number}"
        return cls(f"edits{suffix}.jsonl.gz", f"blocks{suffix}.safetensors", ())

    @property
    def files(self) -> tuple[str, str]:
        return self.edits, self.blocks


@dataclass(frozen=True)
class Correction(KeptRecord):
    """An edit that another one took the place of; early packs tell its id only."""

    id: str
    target: str | None = None
    by: str | None = None
    new_target: str | None = None


@dataclass(frozen=True)
class Change(KeptRecord):
    """The note of what a version changed.

    Attributes:
        action: train, add, remove, self-test, threshold, or "rollback to" a version.
        count: of the edits that were added, removed or trained again.
        edits: ids of the first of them.
        at: when, ISO 8601 in UTC.
        replaced: edits that others took the place of, the first of them.
        to: the version that a rollback brought back.
    """

    action: str
    count: int
    edits: tuple[str, ...]
    at: str
    replaced: tuple[Correction, ...] = ()
    to: int | None = None

    @classmethod
    def now(
        cls,
        action: str,
        ids: Sequence[str] = (),
        *,
        replaced: Sequence[Correction] = (),
        to: int | None = None,
    ) -> Change:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(action, len(ids), tuple(ids[:LOGGED]), at, tuple(replaced[:LOGGED]), to)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Change:
        told = record.get("replaced", ())
        replaced = [{"id": one} if isinstance(one, str) else one for one in told]
        return super().from_json({**record, "replaced": replaced})


@dataclass(frozen=True)
class ScopeSettings(KeptRecord):
    """What fires an edit: `entity`, every mention, or `relation`, a gate with these thresholds.

    `embedder` and `fingerprint` name what compares the questions; `parts` is what the scope is made
    of, a `ScopeConfig`, which packs of early versions do not tell. `judges` where there are blocks
    for yes and for no.
    """

    kind: str = "entity"
    threshold: float | None = None
    open_threshold: float | None = None
    embedder: str | None = None
    fingerprint: str | None = None
    parts: JsonObject | None = None
    judges: bool = False

    @property
    def gated(self) -> bool:
        return self.kind != "entity"

    @property
    def files(self) -> tuple[str, ...]:
        """Files that belong to the pack as a whole."""
        own = (HYPERNETWORK, *((GATE,) if self.gated else ()))
        return (*own, VERDICTS) if self.judges else own


@dataclass(frozen=True)
class Manifest(KeptRecord):
    """What `manifest.json` holds.

    Attributes:
        schema, lks: of the format, and of the package that trained the pack.
        layers, form, hypernetwork, scale: how blocks are made and put in; the scale of each layer.
        parts: what each version added, the oldest first.
        files: sha256 of every file by name.
        edits: how many are in force; profiles that rest are not counted.
        version: counted from 1.
        parent: sha256 of the manifest before this one.
        tested: of edits that a self-test asked the wordings that failed, none if all held; None
            if no self-test asked any. Edits that are not named were not asked.
    """

    schema: int
    lks: str
    base_model: Fingerprint
    layers: tuple[int, ...]
    form: str
    hypernetwork: str
    scale: tuple[float, ...]
    training: TrainingSummary
    scope: ScopeSettings
    parts: tuple[Part, ...]
    files: Mapping[str, str]
    edits: int
    version: int
    parent: str | None
    change: Change
    tested: Tested | None = None

    @property
    def shaky(self) -> dict[str, Sequence[str]]:
        """The edits that failed the self-test, and in which wordings."""
        return {edit_id: failed for edit_id, failed in (self.tested or {}).items() if failed}

    @classmethod
    def first(
        cls,
        folder: Path,
        part: Part,
        ids: Sequence[str],
        *,
        base_model: Fingerprint,
        layers: tuple[int, ...],
        form: str,
        hypernetwork: str,
        scale: tuple[float, ...],
        training: TrainingSummary,
        scope: ScopeSettings,
        edits: int,
        tested: Tested | None = None,
    ) -> Manifest:
        """The manifest of a new pack of one part in `folder`; `edits` are in force."""
        return cls(
            schema=SCHEMA,
            lks=version("latent-knowledge-scalpel"),
            base_model=base_model,
            layers=layers,
            form=form,
            hypernetwork=hypernetwork,
            scale=scale,
            training=training,
            scope=scope,
            parts=(part,),
            files={name: sha256(folder / name) for name in (*part.files, *scope.files)},
            edits=edits,
            version=1,
            parent=None,
            change=Change.now("train", ids),
            tested=tested,
        )

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Manifest:
        """Raises TypeError, AttributeError for what is no manifest."""
        scale = record.get("scale")  # before schema 3 a number, of the one layer
        own = {} if isinstance(scale, list) else {"scale": [scale]}
        return super().from_json({"scope": {}, **record, **own})  # schema 1 has no scope

    def to_json(self) -> JsonObject:
        """What `from_json` reads; a version that knows only an earlier schema reads it as well."""
        told = super().to_json()
        return told if self.schema > 2 else {**told, "scale": self.scale[0]}
