"""Keys: who gets in, what each role may do, and that tenants do not see each other."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from stores import ADMIN, Place, added, fact, in_force
from typer.testing import CliRunner

from lks.cli.app import app
from lks.errors import Conflict, Forbidden, InputError, NotFound, StoreError
from lks.serving import facts as words
from lks.serving.facts import Caller, JobState, Role, State
from lks.serving.live import LiveService
from lks.serving.reading import KEY_SECONDS
from lks.serving.service import Service, Terms
from lks.serving.store import keys
from lks.serving.store.database import Database

pytest_plugins = ("stores",)
ASK, EDIT, APPROVE = (
    Caller("default", role, role.value) for role in (Role.ASK, Role.EDIT, Role.APPROVE)
)
STRANGER = Caller("other", Role.ADMIN, "eve")
# each method: its least role, and a call of it
METHODS: dict[str, tuple[Role, Callable[[LiveService, Caller], object]]] = {
    "snapshot": (Role.ASK, lambda s, who: s.snapshot(who, "office")),
    "sets": (Role.ASK, lambda s, who: s.sets(who)),
    "facts": (Role.EDIT, lambda s, who: s.facts(who, "office")),
    "fact": (Role.EDIT, lambda s, who: s.fact(who, "office", "f0")),
    "revisions": (Role.EDIT, lambda s, who: s.revisions(who, "office", "f0")),
    "at_version": (Role.EDIT, lambda s, who: s.at_version(who, "office", 1)),
    "history": (Role.EDIT, lambda s, who: s.history(who, "office")),
    "job": (Role.EDIT, lambda s, who: s.job(who, s.jobs(ADMIN, "office")[0].id)),
    "jobs": (Role.EDIT, lambda s, who: s.jobs(who, "office")),
    "add": (Role.EDIT, lambda s, who: s.add(who, "office", [fact(5)])),
    "retire": (Role.EDIT, lambda s, who: s.retire(who, "office", ["f0"])),
    "approve": (Role.APPROVE, lambda s, who: s.approve(who, "office", ["f2"])),
    "reject": (Role.APPROVE, lambda s, who: s.reject(who, "office", ["f2"])),
    "rollback": (Role.APPROVE, lambda s, who: s.rollback(who, "office", 0)),
    "create_set": (Role.ADMIN, lambda s, who: s.create_set(who, "more")),
    "delete_set": (Role.ADMIN, lambda s, who: s.delete_set(who, "office")),
}  # fmt: skip


def test_every_method_of_the_service_is_looked_at() -> None:
    methods = {name for name in vars(Service) if not name.startswith("_")}
    assert methods - {"caller", "open"} == METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_each_method_has_its_least_role(service: LiveService, name: str) -> None:
    least, call = METHODS[name]
    added(service, [fact(0)])
    service.add(ADMIN, "office", [fact(2)], Terms(propose=True))
    for caller in (ASK, EDIT, APPROVE, ADMIN):
        if not caller.role.allows(least):
            with pytest.raises(Forbidden, match=f'"{caller.name}" has the role {caller.role}'):
                call(service, caller)
    assert in_force(service) == {"f0": "Rome"}
    call(service, next(c for c in (ASK, EDIT, APPROVE, ADMIN) if c.role == least))


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"sets", "create_set"}))
def test_what_belongs_to_another_tenant_does_not_exist(service: LiveService, name: str) -> None:
    added(service, [fact(0)])
    service.add(ADMIN, "office", [fact(2)], Terms(propose=True))
    before = service.history(ADMIN, "office")
    with pytest.raises(NotFound) as found:
        METHODS[name][1](service, STRANGER)
    if name != "job":
        absent = str(found.value)
        with pytest.raises(NotFound) as unknown:
            service.snapshot(STRANGER, "office")
        assert absent == str(unknown.value)
    assert service.history(ADMIN, "office") == before and in_force(service) == {"f0": "Rome"}


def test_tenants_have_sets_of_one_name(service: LiveService) -> None:
    added(service, [fact(0)])
    assert service.sets(STRANGER) == []
    service.create_set(STRANGER, "office")
    added(service, [fact(0, "Oslo")], who=STRANGER)
    assert in_force(service) == {"f0": "Rome"}
    assert in_force(service, who=STRANGER) == {"f0": "Oslo"}
    service.delete_set(STRANGER, "office")
    assert in_force(service) == {"f0": "Rome"}


# --- approval


def test_a_proposal_waits_for_approval(place: Place, learnable: None) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "law", approval=True)
        job = added(service, [fact(0), fact(1), fact(2)], Terms(reason="new"), name="law", who=EDIT)
        assert job.state == JobState.PROPOSED and in_force(service, "law") == {}
        waiting = service.facts(APPROVE, "law", states=[State.PROPOSED])
        assert [one.id for one in waiting.facts] == ["f0", "f1", "f2"]
        with pytest.raises(NotFound, match='"f9": waits for no approval'):
            service.approve(APPROVE, "law", ["f0", "f9"])
        done = service.wait(APPROVE, service.approve(APPROVE, "law", ["f0", "f1"]).id)
        assert done.state == JobState.DONE and in_force(service, "law").keys() == {"f0", "f1"}
        assert service.job(EDIT, job.id).state == JobState.PROPOSED  # f2 waits
        service.reject(APPROVE, "law", ["f2"], reason="not so")
        told = service.job(EDIT, job.id)
        assert told.state == JobState.FAILED
        assert told.failed == {"f2": "rejected by approve: not so"}
        assert service.fact(EDIT, "law", "f2").state == State.REJECTED
        actions = [(c.action, c.by) for c in service.history(EDIT, "law")]
        assert actions == [
            ("reject", "approve"), ("add", "approve"), ("approve", "approve"), ("propose", "edit"),
        ]  # fmt: skip
        for change in (
            lambda: service.retire(EDIT, "law", ["f0"]),
            lambda: service.rollback(EDIT, "law", 0),
        ):
            with pytest.raises(Forbidden):
                change()
        assert added(service, [fact(3)], name="law", who=APPROVE).state == JobState.DONE


def test_a_proposal_survives_a_restart_and_a_later_one_takes_its_place(
    place: Place, learnable: None
) -> None:
    with place.open() as service:
        service.create_set(ADMIN, "law", approval=True)
        first = added(service, [fact(0)], name="law", who=EDIT)
    with place.open() as service:
        with pytest.raises(Conflict, match="is on its way"):
            service.add(EDIT, "law", [fact(0, "Oslo")])
        added(service, [fact(0, "Oslo")], Terms(replace=True), name="law", who=EDIT)
        assert service.job(EDIT, first.id).failed.keys() == {"f0"}
        service.wait(APPROVE, service.approve(APPROVE, "law", ["f0"]).id)
        assert in_force(service, "law") == {"f0": "Oslo"}


# --- keys


def made(place: Place, name: str, role: Role, **more: Any) -> str:
    database = Database(place.folder, place.database)
    with database.writing() as session:
        key = keys.add_key(session, name, role, **more)
    database.close()
    return key


@pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)
def test_with_a_key_nobody_gets_in_without(place: Place, learnable: None) -> None:
    with place.open() as service:
        assert service.open and service.caller(None) == service.caller("anything")
        local = service.caller(None)
        assert local is not None and local.role == Role.ADMIN
        key = made(place, "bob", Role.EDIT, tenant="acme", default_set="office")
        assert not service.open
        assert service.caller(None) is None and service.caller("") is None
        assert service.caller(key) == Caller("acme", Role.EDIT, "bob", "office")
        for other in (key[:-1], key + "x", key.swapcase(), key[:16], "lks-", "ключ", "\ud800"):
            assert service.caller(other) is None, other
        database = Database(place.folder, place.database)
        with database.writing() as session:
            keys.revoke_key(session, "bob", tenant="acme")
        time.sleep(KEY_SECONDS)
        assert service.caller(key) is None
        assert not service.open and service.caller(None) is None  # no key is left, and it is shut
        database.close()


def test_the_store_does_not_hold_keys(place: Place) -> None:
    key = made(place, "bob", Role.EDIT)
    database = Database(place.folder)
    with database.reading() as session:
        (row,) = session.execute(text("SELECT * FROM keys")).mappings()
    secret = key.rsplit("-", 1)[-1]
    assert key.startswith(row["prefix"]) and len(key) - len(row["prefix"]) > 40
    assert not any(secret in str(value) or key in str(value) for value in row.values())
    database.close()
    files = [path.read_bytes() for path in place.folder.iterdir() if path.is_file()]
    assert not any(key.encode() in content for content in files)


def test_two_keys_of_one_name_are_refused(place: Place) -> None:
    made(place, "bob", Role.EDIT)
    with pytest.raises(Conflict, match='has a key "bob" already'):
        made(place, "bob", Role.ASK)
    made(place, "bob", Role.EDIT, tenant="acme")
    with pytest.raises(InputError, match='key " "'):
        made(place, " ", Role.ASK)


def run(*given: str) -> str:
    done = CliRunner().invoke(app, ["keys", *given], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command(tmp_path: Path, learnable: None) -> None:
    store = ["--store", str(tmp_path / "store")]
    with pytest.raises(InputError, match="no store there"):
        run("list", *store)
    key = run("add", "bob", "--role", "edit", "--tenant", "acme", "--set", "office", *store).strip()
    told = json.loads(run("add", "ann", "--json", *store))
    assert (told["role"], told["tenant"]) == ("ask", "default")
    with Place(tmp_path / "store", None).open() as service:  # a server runs meanwhile
        assert service.caller(key) == Caller("acme", Role.EDIT, "bob", "office")
        listed = run("list", *store)
        assert "bob" in listed and key[:16] in listed and key not in listed
        run("revoke", "bob", "--tenant", "acme", *store)
        time.sleep(KEY_SECONDS)
        assert service.caller(key) is None
        assert service.caller(told["key"]) is not None
    assert "revoked" in run("list", *store)
    rows = json.loads(run("list", "--json", *store))
    assert [(row["name"], row["revoked"] is None) for row in rows] == [
        ("bob", False),
        ("ann", True),
    ]
    with pytest.raises(NotFound, match='no key "nobody"'):
        run("revoke", "nobody", *store)
    run("add", "bob", "--tenant", "acme", *store)  # the name is free again


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys; from lks.cli.app import app; sys.argv = ['lks', 'keys', 'add', 'bob', "
        f"'--store', {str(tmp_path)!r}]\n"
        "try: app()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'sqlalchemy' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_store_of_a_newer_version_is_refused_in_one_line(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreError, match=r"written by a newer lks \(schema 9999, .*update lks$"):
        Database(tmp_path)


@pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)
def test_the_migrations_make_what_the_models_say(place: Place) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from lks.serving.store.schema import Base

    database = Database(place.folder, place.database)
    with database.reading() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_a_role_may_what_those_before_it_may() -> None:
    order = list(words.Role)
    for i, one in enumerate(order):
        assert [one.allows(other) for other in order] == [j <= i for j in range(len(order))]
