"""Which parts a scope has. The configuration lies in a pack, with each part's version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lks.errors import InputError, PackError
from lks.scope.registry import PARTS, RETIRED, is_known, part_class


@dataclass(frozen=True)
class ScopeConfig:
    """The names of a scope's parts, as in `registry.PARTS`; those of a kind work in this order.

    Attributes:
        forms: other ways to write a name.
        generators: where a text may name an entity.
        proposals: further places, which count only where the relation gate finds that the
            sentence means what an edit asks.
        filters: what is no mention after all.
        sentence_vetoes: sentences that ask for something else, near as they are.
        text_vetoes: what else in a text silences an edit.
        gate: whether a relation gate decides; without one every mention fires.
    """

    forms: tuple[str, ...] = tuple(PARTS["forms"])
    generators: tuple[str, ...] = tuple(PARTS["generators"])
    proposals: tuple[str, ...] = tuple(PARTS["proposals"])
    filters: tuple[str, ...] = tuple(PARTS["filters"])
    sentence_vetoes: tuple[str, ...] = tuple(PARTS["sentence_vetoes"])
    text_vetoes: tuple[str, ...] = tuple(PARTS["text_vetoes"])
    gate: bool = True

    def made(self, kind: str) -> list[Any]:
        """The parts of a kind, new."""
        return [part_class(kind, name)() for name in getattr(self, kind)]

    def without(self, part: str) -> ScopeConfig:
        """The same without one part."""
        own: dict[str, Any] = {k: tuple(n for n in getattr(self, k) if n != part) for k in PARTS}
        return replace(self, **own)

    def with_part(self, kind: str, name: str) -> ScopeConfig:
        """The same with one part more: in its place among those of its kind, else behind them."""
        own = (*getattr(self, kind), name)
        order = [*PARTS[kind], *own]
        changed: dict[str, Any] = {kind: tuple(sorted(dict.fromkeys(own), key=order.index))}
        return replace(self, **changed)

    def to_json(self) -> dict[str, Any]:
        """Kind -> part -> version."""
        parts: dict[str, Any] = {
            kind: {name: part_class(kind, name).version for name in getattr(self, kind)}
            for kind in PARTS
        }
        return parts | {"gate": self.gate}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], made_by: str) -> ScopeConfig:
        """The configuration of a pack.

        Args:
            made_by: the version of this package that wrote it.

        Raises:
            PackError: it names a part that this version has not, or has only in a later form.
        """
        unknown = record.keys() - {f.name for f in fields(cls)} - {"other_relations"}
        own: dict[str, Any] = {
            kind: {k: v for k, v in record.get(kind, {}).items() if k not in RETIRED}
            for kind in PARTS
        }
        wanted = [(kind, *item) for kind, parts in own.items() for item in parts.items()]
        missing = [f"{name} ({kind})" for kind, name, _ in wanted if not is_known(kind, name)]
        changed = [
            f"{name} (version {version})"
            for kind, name, version in wanted
            if is_known(kind, name) and part_class(kind, name).version != version
        ]
        if unknown or missing or changed:
            told = ", ".join([*sorted(unknown), *missing, *changed])
            raise PackError(
                f"the pack's scope has parts that this version has not: {told}; "
                f"use lks {made_by}, or train the pack again"
            )
        return cls(**{kind: tuple(parts) for kind, parts in own.items()}, gate=bool(record["gate"]))


DEFAULT = ScopeConfig()
EXACT = ScopeConfig((), ("exact",), (), ("longer_name",), (), ("negative_phrase",))
PRESETS: Mapping[str, ScopeConfig] = {
    "relation": DEFAULT,
    "strict": replace(DEFAULT, generators=("exact",), proposals=()),  # names as they are known
    "entity": replace(DEFAULT, gate=False),  # every mention of an entity fires its edits
    "paper": replace(EXACT, filters=(), text_vetoes=(), gate=False),
}


def preset(name: str) -> ScopeConfig:
    """The configuration of this name; InputError with all names if there is none."""
    if name not in PRESETS:
        raise InputError(f"--scope {name}: unknown; one of {', '.join(PRESETS)}")
    return PRESETS[name]
