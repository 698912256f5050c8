"""Bodies of the API of facts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from lks.serving.facts import LONGEST_ID
from lks.serving.http.requests import Body
from lks.serving.service import Terms
from lks.serving.terms import time_of

Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]
Reason = Annotated[str, Field(max_length=2000)]
Tag = Annotated[str, Field(min_length=1, max_length=200)]


# Strict models take no text for a time; JSON has nothing else.
Time = Annotated[datetime, BeforeValidator(time_of, json_schema_input_type=str)]


# A record of the file of facts. `Edit.from_record` reads it, and tells all problems at once.
Record = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "object",
            "required": ["subject", "prompt", "target"],
            "properties": {
                name: {"type": "string", "minLength": 1}
                for name in ("id", "subject", "prompt", "target")
            },
        }
    ),
]


class SetRequest(Body):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    approval: bool = False


class Edits(Body):
    """Facts as records of the file of facts, and the terms of all that have none of their own."""

    edits: list[Record] = Field(min_length=1)
    tags: Sequence[Tag] = ()
    valid_from: Time | None = None
    valid_until: Time | None = None
    reason: Reason | None = None
    replace: bool = False
    propose: bool = False

    def terms(self) -> Terms:
        return Terms(
            self.reason,
            tuple(self.tags),
            self.valid_from,
            self.valid_until,
            self.replace,
            self.propose,
        )


class AddRequest(Edits):
    """POST .../edits"""


class FactIds(Body):
    """POST .../retire, .../approve, .../reject"""

    ids: list[Id] = Field(min_length=1)
    reason: Reason | None = None


class DryRunRequest(Body):
    """POST .../dry-run"""

    texts: list[Annotated[str, Field(max_length=100_000)]] = Field(min_length=1, max_length=1000)
    edits: Sequence[Record] = ()


class RollbackRequest(Body):
    """POST .../rollback"""

    version: int = Field(ge=0, lt=2**31)
    reason: Reason | None = None


class TestRequest(Body):
    """POST .../test"""

    ids: list[Id] | None = None
