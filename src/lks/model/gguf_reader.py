"""What a GGUF file says of itself, and files that hold no whole language model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

from lks.errors import MissingExtra, ModelError

Reader: TypeAlias = Any  # gguf.GGUFReader, which an extra brings

PROJECTOR = "clip"  # the architecture of what reads images or sounds for a language model


def opened(gguf: Path) -> Reader:
    """Its reader; ModelError if the file is none, or not of a whole language model."""
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError as error:
        raise MissingExtra(gguf.name, error, "demo") from error
    try:
        reader = GGUFReader(gguf)
        architecture = told(reader, "general.architecture")
    except (ValueError, IndexError, KeyError) as error:
        raise ModelError(
            f"{gguf.name}: no GGUF file, or damaged or cut short; get the file again"
        ) from error
    check_name(gguf, told(reader, "split.count") or 1)
    if architecture == PROJECTOR or told(reader, "general.type") == "mmproj":
        raise ModelError(
            f"{gguf.name}: the part of a model that reads images or sounds; "
            "give the file of its language model"
        )
    if architecture is None or not reader.tensors:
        raise ModelError(f"{gguf.name}: has no model in it; give the file of a whole model")
    return reader


def check_name(gguf: Path, files: int = 1) -> None:
    """ModelError for one of several files of a model, by its name or by what it says."""
    if files > 1 or re.search(r"-\d{5}-of-\d{5}$", gguf.stem):
        raise ModelError(
            f"{gguf.name}: one of several files of a model; "
            "join them first (llama-gguf-split --merge)"
        )


def told(reader: Reader, key: str) -> Any:
    """What a file says under a key, None if nothing."""
    field = reader.fields.get(key)
    return None if field is None else field.contents()


def language_models(folder: Path) -> list[Path]:
    """GGUF files in a folder, but for those that read images or sounds for another one."""
    return [file for file in sorted(folder.glob("*.gguf")) if not _is_projector(file)]


def _is_projector(gguf: Path) -> bool:
    with gguf.open("rb") as stream:
        head = stream.read(4096)  # files tell the architecture first
    key, value = b"general.architecture", PROJECTOR.encode()
    return key + (8).to_bytes(4, "little") + len(value).to_bytes(8, "little") + value in head
