"""Dataclasses that are kept as JSON: in a pack's manifest, a checkpoint, a result for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

JsonObject = dict[str, Any]  # what json.loads makes of an object


@dataclass(frozen=True)
class JsonRecord:
    """A frozen dataclass whose fields are the keys of a JSON object.

    Attributes:
        extra: what stands under keys that this version does not know; it is written again.
    """

    extra: Mapping[str, object] = field(default_factory=dict, kw_only=True)

    @classmethod
    def from_json(cls, record: JsonObject) -> Self:
        """The record of an object; TypeError where a key is missing."""
        names = {own.name for own in fields(cls)} - {"extra"}
        known = {key: value for key, value in record.items() if key in names}
        return cls(**known, extra={key: record[key] for key in record if key not in names})

    def to_json(self) -> JsonObject:
        """What `from_json` reads; fields that need not be there are left out where empty."""
        own = {one.name: (getattr(self, one.name), one.default) for one in fields(self)}
        del own["extra"]
        told = {
            name: _plain(value)
            for name, (value, default) in own.items()
            if not (value in (None, ()) and value == default)
        }
        return told | dict(self.extra)


def _plain(value: object) -> object:
    if isinstance(value, JsonRecord):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value
