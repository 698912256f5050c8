"""`lks keys ...`: who may ask a server, and who may change its facts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lks.cli.options import AsJson, print_json
from lks.errors import InputError, MissingExtra
from lks.serving.facts import Role

if TYPE_CHECKING:
    from lks.serving.store.database import Database

STORE = "lks-store"  # in the working directory
TENANT = "default"  # of who gives none
Store = Annotated[Path, typer.Option("--store", help="The store's folder, as given to lks serve.")]
DatabaseAddress = Annotated[
    str | None,
    typer.Option("--database", help="Of PostgreSQL, as given to lks serve; else SQLite."),
]
Tenant = Annotated[str, typer.Option(help="Whose sets the key sees.")]
Name = Annotated[str, typer.Argument(help="What the key is called, such as its user.")]

keys_app = typer.Typer(
    help="API keys of a server. With one key at least, nobody gets in without.",
    no_args_is_help=True,
)


@keys_app.command("add")
def add_key(
    name: Name,
    role: Annotated[
        Role, typer.Option(help="Each may do what those before it may, too.")
    ] = Role.ASK,
    tenant: Tenant = TENANT,
    default_set: Annotated[
        str | None, typer.Option("--set", help='The set that the model "default" means.')
    ] = None,
    store: Store = Path(STORE),
    database: DatabaseAddress = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and print it: it is shown only now."""
    from lks.serving.store import keys

    with opened(store, database, make=True) as found, found.writing() as session:
        key = keys.add_key(session, name, role, tenant=tenant, default_set=default_set)
    if as_json:
        print_json({"name": name, "role": role, "tenant": tenant, "set": default_set, "key": key})
        return
    print(key)


@keys_app.command("list")
def list_keys(
    store: Store = Path(STORE), database: DatabaseAddress = None, as_json: AsJson = False
) -> None:
    """The keys of a store, by how each begins; the whole key is nowhere kept."""
    from lks.serving.store import keys

    with opened(store, database) as found, found.reading() as session:
        rows = keys.list_keys(session)
    if as_json:
        print_json(
            [
                {
                    "name": row.name,
                    "role": row.role,
                    "tenant": row.tenant,
                    "set": row.default_set,
                    "begins": row.prefix,
                    "created": row.created.isoformat(),
                    "revoked": row.revoked and row.revoked.isoformat(),
                }
                for row in rows
            ]
        )
        return
    for row in rows:
        end = f"revoked {row.revoked:%Y-%m-%d}" if row.revoked else f"since {row.created:%Y-%m-%d}"
        told = f"{row.tenant:16} {row.name:20} {row.role:8} {row.default_set or '-':16}"
        print(f"{told} {row.prefix}...  {end}")


@keys_app.command("revoke")
def revoke_key(
    name: Name,
    tenant: Tenant = TENANT,
    store: Store = Path(STORE),
    database: DatabaseAddress = None,
) -> None:
    """End a key. A running server refuses it a second later at most."""
    from lks.serving.store import keys

    with opened(store, database) as found, found.writing() as session:
        keys.revoke_key(session, name, tenant=tenant)
    print(f'key "{name}" of tenant "{tenant}" is revoked')


@contextmanager
def opened(store: Path, address: str | None, *, make: bool = False) -> Iterator[Database]:
    """The database of a store; a server may be at work on it.

    Args:
        make: where there is none yet.
    """
    try:
        from lks.serving.store.database import FILE, Database
    except ModuleNotFoundError as error:
        raise MissingExtra("the store of facts", error, "serve") from error
    if not make and address is None and not (store / FILE).is_file():
        raise InputError(f"{store}: no store there; give the folder that lks serve has, --store")
    found = Database(store, address)
    try:
        yield found
    finally:
        found.close()
