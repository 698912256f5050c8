"""The database: opened, brought up to date, and lent to one writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from lks.errors import MissingExtra, OutputError, StoreError

FILE, LOCK, MIGRATING = "store.sqlite3", ".writer.lock", ".migrating.lock"
BUSY_SECONDS = 20  # that SQLite waits for another process, such as `lks keys`
_WRITER, _MIGRATOR = 0x6C6B7301, 0x6C6B7302  # advisory locks of PostgreSQL
_WRITES = "lks_writes"


class Database:
    """The store's database.

    Args:
        folder: of the store; it is made where it is missing.
        url: of a PostgreSQL database; without one it is a SQLite file in the folder.
        migrate: bring an older schema up to date, and make one where there is none.

    Raises:
        StoreError: it cannot be opened, or a newer version of this package wrote it.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, url: str | None = None, *, migrate: bool = True) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.at(folder, error) from error
        self._engine = _engine(folder, url)
        self.name = self._engine.url.render_as_string() if url else str(folder)
        self._sqlite = self._engine.dialect.name == "sqlite"
        reading = {} if self._sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self._engine.execution_options(**reading)
        self._writing = self._engine.execution_options(**{_WRITES: True})
        self._writer: FileLock | Connection | None = None
        try:
            self._check_schema(migrate)
        except DBAPIError as error:
            raise StoreError(
                f"{self.name}: cannot be opened ({_first_line(error)}); check the address and the "
                "rights"
            ) from error
        self._file = self._found()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of things."""
        with _told(), Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are on the disk, all of them, when the block has ended well; the
        block may commit itself before."""
        self._check_there()
        with _told(), Session(self._writing, expire_on_commit=False) as session:
            yield session
            session.commit()

    def become_writer(self) -> None:
        """Be the one process that writes this store, until `close`.

        Raises:
            StoreError: another one is.
        """
        told = StoreError(
            f"{self.name}: another server writes this store; stop it, or open the store to read "
            "only"
        )
        if self._sqlite:
            lock = FileLock(self.folder / LOCK, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise told from None
            self._writer = lock
            return
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        asked = text("SELECT pg_try_advisory_lock(:lock)")
        if not connection.scalar(asked, {"lock": _WRITER}):
            connection.close()
            raise told
        connection.detach()  # closed, it is not lent again with the lock on it
        self._writer = connection

    def _found(self) -> tuple[int, int] | None:
        """Which file of SQLite is there."""
        try:
            found = (self.folder / FILE).stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _check_there(self) -> None:
        """StoreError where the file was removed: what is written to it then would be lost."""
        if self._sqlite and self._found() != self._file:
            raise StoreError(
                f"{self.folder / FILE}: was taken away; stop the server, bring the file back, and "
                "start it again"
            )

    def close(self) -> None:
        if isinstance(self._writer, FileLock):
            self._writer.release()
        elif self._writer is not None:
            self._writer.close()
        self._writer = None
        self._engine.dispose()

    def _check_schema(self, migrate: bool) -> None:
        """Bring the schema up to date, one process at a time.

        Raises:
            StoreError: it is newer, or older and not to be changed.
        """
        with as_file(files("lks.serving.store") / "migrations") as scripts:
            config = Config()
            config.set_main_option("script_location", str(scripts).replace("%", "%%"))
            steps = ScriptDirectory.from_config(config)
            with self._one_at_a_time(), self._writing.begin() as connection:
                present = MigrationContext.configure(connection).get_current_revision()
                known = {step.revision for step in steps.walk_revisions()}
                if present is not None and present not in known:
                    raise StoreError(
                        f"{self.name}: written by a newer lks (schema {present}, this one knows up "
                        f"to {steps.get_current_head()}); update lks"
                    )
                if present == steps.get_current_head():
                    return
                if not migrate:
                    told = "holds no store" if present is None else f"has the old schema {present}"
                    raise StoreError(f"{self.name}: {told}; start the server that writes it first")
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if self._sqlite:
            with FileLock(self.folder / MIGRATING):
                yield
            return
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as held:
            held.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _MIGRATOR})
            try:
                yield
            finally:
                held.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _MIGRATOR})


def _engine(folder: Path, url: str | None) -> Engine:
    if url is None:
        path = str(folder.resolve() / FILE)
        engine = create_engine(
            make_url("sqlite://").set(database=path), connect_args={"timeout": BUSY_SECONDS}
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        found = make_url(url)
        if found.get_backend_name() != "postgresql":
            raise StoreError(
                f"{found.render_as_string()}: not a PostgreSQL address; give "
                "postgresql://user@host/database, or no address for SQLite"
            )
        # whoever has psycopg 3 need not name it in the address
        return create_engine(found.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError(f"{url}: not an address of a database ({error})") from error
    except ModuleNotFoundError as error:
        raise MissingExtra("a store in PostgreSQL", error, "postgres") from error


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin_sqlite`
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Who is to write waits at the beginning: a lock that is raised later may fail at once."""
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _told() -> Iterator[None]:
    """StoreError where the database can do nothing now: a full disk, a lost connection."""
    try:
        yield
    except OperationalError as error:
        raise StoreError(
            f"the store's database cannot go on ({_first_line(error)}); nothing was changed"
        ) from error


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
