"""The tables of the store, the same in SQLite and in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from lks.edits.text import encodable


class Moment(TypeDecorator[datetime]):
    """A moment in UTC. It must know its time zone; SQLite forgets it, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Plain(TypeDecorator[str]):
    """A text that both databases take: without the two kinds of characters that one refuses."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None else encodable(value).replace("\0", "\ufffd")


class Lines(TypeDecorator[tuple[str, ...]]):
    """Short texts, each on a line of its own, so that `LIKE` finds a whole one."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is not None and not isinstance(value, str):
            value = "".join(f"\n{line}" for line in value) + "\n"
        # a text is what `LIKE` is asked for
        return value if value is None else encodable(value).replace("\0", "\ufffd")

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...]:
        return tuple(filter(None, (value or "").split("\n")))


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012
        str: Plain,
        datetime: Moment,
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        list[str]: JSON(none_as_null=True),
        tuple[str, ...]: Lines,
    }


class TenantRow(Base):
    __tablename__ = "tenants"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class KeyRow(Base):
    """An API key; of its secret only a hash is kept.

    Attributes:
        prefix: the part of the key that is shown, and by which it is found.
        salt, digest: hex; the digest is a BLAKE2b of the whole key, keyed with the salt.
    """

    __tablename__ = "keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str]
    role: Mapped[str]
    default_set: Mapped[str | None]
    prefix: Mapped[str] = mapped_column(unique=True)
    salt: Mapped[str]
    digest: Mapped[str]
    created: Mapped[datetime]
    revoked: Mapped[datetime | None]


class SetRow(Base):
    """A set of facts. One that was deleted leaves its row and its history, and frees its name.

    Attributes:
        base: the folder of the pack that its first facts were trained into; None before these.
    """

    __tablename__ = "sets"
    __table_args__ = (
        Index(
            "one_set_of_a_name",
            "tenant_id",
            "name",
            unique=True,
            sqlite_where=text("deleted IS NULL"),
            postgresql_where=text("deleted IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str]
    approval: Mapped[bool]
    version: Mapped[int]
    base: Mapped[str | None]
    created: Mapped[datetime]
    deleted: Mapped[datetime | None]


class RevisionRow(Base):
    """One revision of a fact.

    Attributes:
        record: the edit, as `Edit.to_record` gives it.
        question: a hash of `Edit.question`.
        words: id, subject, prompt and target in lower case, which a search looks through.
        newest: no later revision of the fact is there.
        part, block: the file that holds its block, and the revision under whose number it lies
            there: this one, or an earlier one that says the same. None while it has none.
    """

    __tablename__ = "revisions"
    __table_args__ = (
        UniqueConstraint("set_id", "fact_id", "revision", name="one_revision_of_a_number"),
        Index("revisions_by_question", "set_id", "question"),
        Index("revisions_by_state", "set_id", "state", "fact_id"),
        Index("revisions_by_job", "job_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    set_id: Mapped[int] = mapped_column(ForeignKey("sets.id"))
    fact_id: Mapped[str]
    revision: Mapped[int]
    record: Mapped[dict[str, Any]]
    question: Mapped[str]
    words: Mapped[str]
    newest: Mapped[bool]
    state: Mapped[str]
    why: Mapped[str | None]
    shaky: Mapped[list[str] | None]
    valid_from: Mapped[datetime | None]
    valid_until: Mapped[datetime | None]
    tags: Mapped[tuple[str, ...]]
    by: Mapped[str]
    reason: Mapped[str | None]
    at: Mapped[datetime]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    part: Mapped[str | None]
    block: Mapped[int | None]


class IntervalRow(Base):
    """A revision was in force from version `since` on, and no more from `until` on."""

    __tablename__ = "intervals"
    __table_args__ = (Index("intervals_of_a_set", "set_id", "until"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    set_id: Mapped[int] = mapped_column(ForeignKey("sets.id"))
    revision_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"), index=True)
    since: Mapped[int]
    until: Mapped[int | None]


class ChangeRow(Base):
    """A line of a set's history, which is its audit too: nothing takes it away again."""

    __tablename__ = "changes"
    __table_args__ = (Index("changes_of_a_set", "set_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    set_id: Mapped[int] = mapped_column(ForeignKey("sets.id"))
    version: Mapped[int]
    at: Mapped[datetime]
    by: Mapped[str]
    action: Mapped[str]
    facts: Mapped[list[str]]
    reason: Mapped[str | None]


class JobRow(Base):
    """New facts on their way into force.

    Attributes:
        number: the order in which they came.
        starts: how often it was begun; one that ended the server again and again is given up.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_by_state", "state", "number"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]
    set_id: Mapped[int] = mapped_column(ForeignKey("sets.id"), index=True)
    state: Mapped[str]
    facts: Mapped[list[str]]
    failed: Mapped[dict[str, str]]
    version: Mapped[int | None]
    by: Mapped[str]
    reason: Mapped[str | None]
    starts: Mapped[int]
    created: Mapped[datetime]
    finished: Mapped[datetime | None]


class OnceRow(Base):
    """A change that was named by its caller, and what it gave."""

    __tablename__ = "once"
    __table_args__ = (UniqueConstraint("set_id", "name", name="one_change_of_a_name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    set_id: Mapped[int] = mapped_column(ForeignKey("sets.id"))
    name: Mapped[str]
    content: Mapped[str]
    result: Mapped[str]
    at: Mapped[datetime]
