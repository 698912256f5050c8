"""API keys: made, listed, revoked, and whose each is. Without torch, so that it is instant.

A key is a random text. The store keeps its first part, by which it is found and shown, and a hash
of the whole, keyed with a salt of its own: who reads the store cannot ask with it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lks.errors import Conflict, InputError, NotFound
from lks.serving.facts import Caller, Role
from lks.serving.store.schema import KeyRow, TenantRow

LOCAL = "default"  # the tenant of who asks without a key, where there are none
LONGEST = 200  # characters of a name
_PREFIX, _SECRET = 6, 32  # random bytes


@dataclass(frozen=True)
class Key:
    """What is shown of a key.

    Attributes:
        prefix: how it begins.
    """

    name: str
    tenant: str
    role: Role
    default_set: str | None
    prefix: str
    created: datetime
    revoked: datetime | None


def checked_name(name: str, what: str) -> str:
    """A name that can stand in an address and in a list; InputError for another one."""
    if (
        not name.strip()
        or len(name) > LONGEST
        or any(not c.isprintable() or c in "/:" for c in name)
        or name.strip() in (".", "..")  # addresses are read without them
    ):
        raise InputError(
            f'{what} "{name[:40]}": give 1 to {LONGEST} printable characters without "/" and ":", '
            "not only dots"
        )
    return name.strip()


def tenant_of(session: Session, name: str) -> TenantRow:
    """A tenant, made where it is missing."""
    row = session.scalar(select(TenantRow).where(TenantRow.name == name))
    if row is None:
        row = TenantRow(name=name)
        session.add(row)
        session.flush()
    return row


def add_key(
    session: Session,
    name: str,
    role: Role,
    *,
    tenant: str = LOCAL,
    default_set: str | None = None,
) -> str:
    """A new key, which is told only here.

    Raises:
        Conflict: the tenant has a key of this name.
    """
    name, tenant = checked_name(name, "key"), checked_name(tenant, "tenant")
    if default_set is not None:
        default_set = checked_name(default_set, "set")
    own = tenant_of(session, tenant)
    if _live(session, own.id, name) is not None:
        raise Conflict(f'tenant "{tenant}" has a key "{name}" already; revoke it, or take a name')
    prefix = f"lks-{secrets.token_hex(_PREFIX)}"
    key, salt = f"{prefix}-{secrets.token_urlsafe(_SECRET)}", secrets.token_hex(16)
    session.add(
        KeyRow(
            tenant_id=own.id,
            name=name,
            role=role.value,
            default_set=default_set,
            prefix=prefix,
            salt=salt,
            digest=_digest(key, salt),
            created=datetime.now(UTC),
        )
    )
    return key


def revoke_key(session: Session, name: str, *, tenant: str = LOCAL) -> None:
    """From now on nobody asks with this key; NotFound if there is none."""
    own = session.scalar(select(TenantRow).where(TenantRow.name == tenant))
    row = _live(session, own.id, name) if own else None
    if row is None:
        raise NotFound(f'tenant "{tenant}" has no key "{name}"; lks keys list shows them')
    row.revoked = datetime.now(UTC)


def list_keys(session: Session) -> list[Key]:
    """All keys, revoked ones too, by tenant and name."""
    rows = session.execute(
        select(KeyRow, TenantRow.name)
        .join(TenantRow)
        .order_by(TenantRow.name, KeyRow.name, KeyRow.id)
    )
    return [
        Key(row.name, tenant, Role(row.role), row.default_set, row.prefix, row.created, row.revoked)
        for row, tenant in rows
    ]


def any_keys(session: Session) -> bool:
    """Whether there ever was a key: revoking the last one does not open the store to everybody."""
    return session.scalar(select(KeyRow.id).limit(1)) is not None


def caller_of(session: Session, key: str) -> Caller | None:
    """Whose key this is; None for one that is unknown or revoked."""
    if not (key.isascii() and key.isprintable()):
        return None
    prefix = "-".join(key.split("-", 2)[:2])
    found = session.execute(
        select(KeyRow, TenantRow.name).join(TenantRow).where(KeyRow.prefix == prefix)
    ).one_or_none()
    if found is None:
        return None
    row, tenant = found
    if not hmac.compare_digest(row.digest, _digest(key, row.salt)) or row.revoked is not None:
        return None
    return Caller(tenant, Role(row.role), row.name, row.default_set)


def _live(session: Session, tenant_id: int, name: str) -> KeyRow | None:
    wanted = (KeyRow.tenant_id == tenant_id, KeyRow.name == name, KeyRow.revoked.is_(None))
    return session.scalar(select(KeyRow).where(*wanted))


def _digest(key: str, salt: str) -> str:
    """Quick to make, for it is asked at each request; a key of 256 random bits is not guessed."""
    return hashlib.blake2b(key.encode(), key=bytes.fromhex(salt)).hexdigest()
