"""Folders of the cache: there whole or not at all, and made by one process at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lks.errors import OutputError
from lks.files import CACHE_VARIABLE

Echo = Callable[[str], None]
GB = 10**9


def made_once(folder: Path, make: Callable[[Path], None], echo: Echo) -> Path:
    """`folder`; if it is not there, `make` is handed an empty one that becomes it.

    Raises:
        OutputError: the cache cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder, echo):
            if folder.is_dir():  # another process was first
                return folder
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as own:
                made = Path(own) / "model"
                made.mkdir()
                make(made)
                made.rename(folder)
    except OSError as error:
        raise OutputError(
            f"cannot write the model cache {folder.parent}: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder with enough space"
        ) from error
    return folder


def need_room(folder: Path, size: int, what: str) -> None:
    """OutputError if so many bytes do not fit on the folder's disk."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"{what} needs {size / GB:.1f} GB in {folder}, where {free / GB:.1f} GB are free; "
            f"free some space, or set {CACHE_VARIABLE} to a folder on another disk"
        )


@contextmanager
def _alone(folder: Path, echo: Echo) -> Iterator[None]:
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        echo(f"waiting for another process, which makes {folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
