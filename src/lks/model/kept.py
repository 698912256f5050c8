"""Arrays that take time to make: made once, and kept in the cache folder."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lks import files
from lks.files import write_whole


def load(name: str, *, mapped: bool = False) -> NDArray[Any] | None:
    """An array of the cache folder; None if it is not there yet, or cannot be read.

    Args:
        mapped: into memory, so that only what is looked at is read.
    """
    try:
        found: NDArray[Any] = np.load(_file(name), mmap_mode="r" if mapped else None)
    except Exception:  # a damaged file may lead to any
        return None
    return found


def save(name: str, array: NDArray[Any]) -> None:
    """Keep an array. A folder that cannot be written is no error: it is only a matter of time."""
    content = io.BytesIO()
    np.save(content, array)
    with contextlib.suppress(OSError):
        _file(name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(_file(name), content.getvalue())


def _file(name: str) -> Path:
    return files.cache_dir() / f"{name}.npy"
