"""What an extension of a pack came to. Without torch: nothing may be new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lks.edits.edit import Edit
from lks.json_record import JsonObject
from lks.packs.records import Correction, Manifest


@dataclass(frozen=True)
class Extension:
    """What an extension of a pack came to.

    Attributes:
        added: how many edits were added; replaced: the first of those that they took the place of.
        not_learnt: edits that the model does not state, which were left out.
        edits, version: of the pack now.
        seconds: that it took.
        known: how many edits were in force already, just as they are; nothing was done for them.
    """

    pack: Path
    added: int
    replaced: tuple[Correction, ...]
    not_learnt: tuple[Edit, ...]
    edits: int
    version: int
    seconds: float
    known: int = 0

    @classmethod
    def of(
        cls,
        pack: Path,
        manifest: Manifest,
        *,
        added: int = 0,
        not_learnt: Sequence[Edit] = (),
        seconds: float = 0.0,
        known: int = 0,
    ) -> Extension:
        """One that led to this manifest, if anything was added."""
        replaced = manifest.change.replaced if added else ()
        now = manifest.edits, manifest.version
        return cls(pack, added, replaced, tuple(not_learnt), *now, seconds, known)

    def to_json(self) -> JsonObject:
        """What `lks add --json` and `lks profiles --json` print."""
        return {
            "pack": str(self.pack),
            "added": self.added,
            "known": self.known,
            "replaced": [one.to_json() for one in self.replaced],
            "not_learnt": [{"id": edit.id, "subject": edit.subject} for edit in self.not_learnt],
            "edits": self.edits,
            "version": self.version,
            "seconds": self.seconds,
        }
