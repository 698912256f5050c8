"""The ground: whole writes, hashes, packed files, the cache folder."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path

CACHE_VARIABLE = "LKS_CACHE"
PACKED = ".gz"  # ends the name of a file that is packed


def cache_dir() -> Path:
    """The cache folder: `$LKS_CACHE`, else `lks` in the user's cache folder."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lks"


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def contents(file: Path) -> bytes:
    """What a file holds, unpacked if its name says that it is packed; OSError if it cannot be."""
    held = file.read_bytes()
    if file.suffix != PACKED:
        return held
    try:
        return gzip.decompress(held)
    except (EOFError, zlib.error) as error:
        raise gzip.BadGzipFile(str(error)) from error


def packed(content: bytes) -> bytes:
    """What a packed file of this content holds; always the same."""
    return gzip.compress(content, mtime=0)


def to_disk(file: Path) -> None:
    """Let others read a file, which safetensors does not, and wait until it is on the disk."""
    file.chmod(0o644)
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
