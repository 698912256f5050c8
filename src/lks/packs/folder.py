"""A pack's folder as a whole: it is written beside its place, and takes it when it is complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from lks.errors import OutputError
from lks.files import to_disk

MANIFEST = "manifest.json"


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless a pack can be written at `path`."""
    whole = path.resolve()  # what a link stands for; "." alone would count as a mount point
    if whole.is_mount():  # a folder cannot take its place
        raise OutputError(f"{path}: is a mount point; choose a folder inside it, {path / 'pack'}")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        if not (path / MANIFEST).is_file():
            raise OutputError(f"{path}: exists and is not a pack; choose another place")
        if not overwrite:
            raise OutputError(
                f"{path}: there is a pack already; choose another place or --overwrite"
            )
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{whole.name}-", dir=whole.parent):
            pass
    except OSError as error:
        raise OutputError.at(path, error) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` when the block ends well."""
    path = path.resolve()
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        for file in temporary.iterdir():
            to_disk(file)
        if path.exists():
            shutil.rmtree(_previous(path), ignore_errors=True)
            path.rename(_previous(path))
        temporary.chmod(0o755)
        temporary.rename(path)
        shutil.rmtree(_previous(path), ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise OutputError.at(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.previous")


def recover(path: Path) -> None:
    """Bring back the pack that a save put aside, where a crash came between its two renames."""
    if not path.exists() and _previous(path).exists():
        _previous(path).rename(path)
