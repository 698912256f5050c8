"""Servers that share a store: one writes it, others read it."""

from __future__ import annotations

import pytest
from filelock import FileLock
from stores import ADMIN, Place, added, both, fact, in_force, until

from lks.errors import LKSError, OutputError, StoreError
from lks.serving.live import LiveService

pytest_plugins = ("stores",)


@both
def test_one_writes_and_others_follow(place: Place, learnable: None) -> None:
    with place.open() as writer:
        writer.create_set(ADMIN, "office")
        added(writer, [fact(0), fact(1)])
        with pytest.raises(StoreError, match="another server writes this store"):
            place.open()
        with place.open(read_only=True, poll=0.05) as reader:
            assert in_force(reader) == {"f0": "Rome", "f1": "Rome"}
            writer.retire(ADMIN, "office", ["f0"])
            until(lambda: in_force(reader) == {"f1": "Rome"})
            added(writer, [fact(2)])
            until(lambda: [*in_force(reader)] == ["f1", "f2"])
            writer.create_set(ADMIN, "other")
            until(lambda: len(reader.sets(ADMIN)) == 2)
            added(writer, [fact(0)], name="other")
            until(lambda: in_force(reader, "other") == {"f0": "Rome"})
            assert reader.snapshot(ADMIN, "other").version == 1
            for change in (
                lambda: reader.add(ADMIN, "office", [fact(5)]),
                lambda: reader.retire(ADMIN, "office", ["f1"]),
                lambda: reader.rollback(ADMIN, "office", 1),
                lambda: reader.create_set(ADMIN, "more"),
                lambda: reader.delete_set(ADMIN, "other"),
            ):
                with pytest.raises(StoreError, match="only reads the store"):
                    change()
            writer.delete_set(ADMIN, "other")
            until(lambda: _gone(reader, "other"))
    with place.open() as writer:  # the lock went with the first one
        assert [*in_force(writer)] == ["f1", "f2"]


def test_a_reader_has_what_it_was_asked_about(place: Place, learnable: None) -> None:
    with place.open() as writer, place.open(read_only=True, poll=600.0) as reader:
        writer.create_set(ADMIN, "office")
        added(writer, [fact(0)])
        assert [(one.name, one.version) for one in reader.sets(ADMIN)] == [("office", 1)]
        assert in_force(reader) == {"f0": "Rome"}
        writer.delete_set(ADMIN, "office")
        assert reader.sets(ADMIN) == [] and _gone(reader, "office")


def test_a_reader_makes_no_store(place: Place, learnable: None) -> None:
    with pytest.raises(StoreError, match="holds no store; start the server that writes it"):
        place.open(read_only=True)
    assert not place.folder.exists()


def test_a_folder_that_cannot_be_written_is_told(
    place: Place, learnable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.open().close()
    readable = OSError(30, "Read-only file system")
    monkeypatch.setattr(FileLock, "acquire", lambda *given, **more: raised(readable))
    with pytest.raises(OutputError, match=r"cannot be written \(Read-only file system\)"):
        place.open()


def raised(error: Exception) -> None:
    raise error


@both
def test_a_writer_that_is_not_alone_after_all_changes_nothing(
    place: Place, learnable: None
) -> None:
    """A lock of PostgreSQL goes with its connection; then another server may have come."""
    with place.open() as service:
        service.create_set(ADMIN, "office")
        added(service, [fact(0), fact(1)])
        service._database._writer, lock = None, service._database._writer
        if place.database is None:
            lock.release()  # type: ignore[union-attr]
        else:
            lock.close()  # type: ignore[union-attr]
        with place.open() as other:
            other.retire(ADMIN, "office", ["f0"])
        with pytest.raises(StoreError, match=r"another server has changed it, to version 2"):
            service.retire(ADMIN, "office", ["f1"])
    with place.open() as service:
        assert in_force(service) == {"f1": "Rome"}


def _gone(service: LiveService, name: str) -> bool:
    try:
        service.snapshot(ADMIN, name)
    except LKSError:
        return True
    return False
