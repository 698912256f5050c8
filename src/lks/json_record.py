"""Dataclasses that are kept as JSON: in a pack's manifest, a checkpoint, a result for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

JsonObject = dict[str, Any]  # what json.loads makes of an object


@dataclass(frozen=True)
class Record:
    """A frozen dataclass whose fields are the keys of a JSON object, records in it too."""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The record of an object; keys of other versions are passed over.

        Raises:
            TypeError: a key without a default is missing, or no object or list stands where one
                should.
        """
        hints = get_type_hints(cls)
        return cls(
            **{
                own.name: _read(hints[own.name], record[own.name])
                for own in fields(cls)
                if own.name in record
            }
        )

    def to_json(self) -> JsonObject:
        """What `from_json` reads."""
        return {own.name: _plain(getattr(self, own.name)) for own in fields(self)}


@dataclass(frozen=True)
class KeptRecord(Record):
    """One that outlives the version that wrote it: keys that this one does not know stay.

    Attributes:
        extra: what stands under them; it is written again.
    """

    extra: Mapping[str, object] = field(default_factory=dict, kw_only=True)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        known = {own.name for own in fields(cls)} - {"extra"}
        extra = {key: value for key, value in record.items() if key not in known}
        return super().from_json({**record, "extra": extra})

    def to_json(self) -> JsonObject:
        """What `from_json` reads; fields that need not be there are left out where empty."""
        told = super().to_json()
        del told["extra"]
        for own in fields(self):
            value = getattr(self, own.name)
            if value in (None, ()) and value == own.default:
                del told[own.name]
        return told | dict(self.extra)


def _read(hint: Any, value: Any) -> Any:
    """A value of JSON as its field holds it: lists are tuples, and objects are records."""
    if get_origin(hint) in (Union, UnionType):
        kinds = get_args(hint)
        if value is None and NoneType in kinds:
            return None
        hint = next(kind for kind in kinds if kind is not NoneType)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"no list: {value!r}")
        return tuple(_read(get_args(hint)[0], each) for each in value)
    if isinstance(hint, type) and issubclass(hint, Record):
        if not isinstance(value, Mapping):
            raise TypeError(f"no object: {value!r}")
        return hint.from_json(value)
    return value


def _plain(value: object) -> object:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value
