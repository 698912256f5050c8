"""A GGUF file as a folder with config, tokenizer and safetensors, which is made once.

transformers reads the file and unpacks its weights. What it would get wrong without a word is
looked for in what the file says of itself (`gguf_config.py`, `gguf_tokenizer.py`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from textwrap import shorten

from lks.errors import LKSError, ModelError
from lks.files import cache_dir, to_disk
from lks.json_record import JsonObject
from lks.model.gguf_reader import Reader, opened, told
from lks.model.made_once import made_once, need_room
from lks.model.untyped import CausalLM

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
PLAIN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # kept as they are
UNPACKED = "float16"  # half the room of float32, and ten times closer to it than bfloat16
CONVERSION = "1"  # another number: every file is converted anew
ENDS = ("eos", "eot", "eom", "padding")  # tokens behind which no text goes on
OF_THE_FILE = ("_model_name_or_path", "unk_token_id", "quantization_config", "dtype")
SOURCE = "converted-from.txt"  # the file, in the folder that was made of it
REASON = 300  # characters of another library's error


def converted(gguf: Path, echo: Callable[[str], None]) -> Path:
    """The folder in the cache that a GGUF file was converted to.

    What was made of the file when it had another content is removed then.

    Raises:
        ModelError: it cannot be converted.
        OutputError: the cache cannot be written.
    """
    known = gguf.stat()
    which = f"{CONVERSION} {gguf.name} {known.st_size} {known.st_mtime_ns}"
    key = hashlib.sha256(which.encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        reader = opened(gguf)
        size = sum(int(tensor.n_elements) for tensor in reader.tensors) * BYTES[_dtype(reader)]
        need_room(folder, size, f"to convert {gguf.name}")
        echo(f"converting {gguf.name} to safetensors ({size / 1e9:.1f} GB, once)")
        convert(gguf, folder)
        for earlier in home.glob(f"*/{SOURCE}"):
            if earlier.read_text(encoding="utf-8") == str(gguf.resolve()):
                shutil.rmtree(earlier.parent, ignore_errors=True)
        (folder / SOURCE).write_text(str(gguf.resolve()), encoding="utf-8")

    home = cache_dir() / "gguf"
    return made_once(home / f"{gguf.stem}-{key}", make, echo)


def convert(gguf: Path, folder: Path, dtype: str | None = None) -> None:
    """Write a GGUF file as config, tokenizer and safetensors.

    Args:
        dtype: of the weights; float16, or the file's own if it has them unpacked.
    """
    reader = opened(gguf)
    kept_in = dtype or _dtype(reader)
    with _alone(gguf) as place, _quiet():
        try:
            model = _read(place, reader, folder, gguf.name, kept_in)
            if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
                kept_in = "float32"  # too large for float16
                model = _read(place, reader, folder, gguf.name, kept_in)
        except (LKSError, OSError):
            raise
        except Exception as error:  # whatever a file leads transformers to
            reason = shorten(str(error), REASON, placeholder=" …") or type(error).__name__
            raise ModelError(f"{gguf.name}: cannot be opened: {reason}") from error
        model.save_pretrained(folder)
    _tidy(reader, folder, "bfloat16" if kept_in == "float16" else kept_in)
    for file in folder.iterdir():
        to_disk(file)


def _read(place: JsonObject, reader: Reader, folder: Path, name: str, dtype: str) -> CausalLM:
    """The model that a file tells of, checked. The tokenizer is written to `folder`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

    from lks.model.gguf_config import check_config, check_weights, with_rope
    from lks.model.gguf_tokenizer import write_tokenizer

    config = AutoConfig.from_pretrained(**place)
    if config.is_encoder_decoder:
        raise ModelError(f"{name}: an encoder-decoder; of GGUF files only decoders are read")
    with_rope(config, reader, name)
    check_config(config, reader, name)
    write_tokenizer(place, reader, folder, name)
    model, found = AutoModelForCausalLM.from_pretrained(
        **place,
        config=config,
        dtype=getattr(torch, dtype),
        quantization_config=GgufConfig(dequantize=True),  # packed weights pass no gradients
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # it refuses them in a table; `check_weights` in a sentence
    )
    check_weights(model, reader, name, found["missing_keys"], found["mismatched_keys"])
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and reports."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.set_verbosity(before)


def _dtype(reader: Reader) -> str:
    """In which weights are kept: as they are, if a file has all its matrices unpacked."""
    kinds = {tensor.tensor_type.name for tensor in reader.tensors if len(tensor.shape) > 1}
    return PLAIN.get(kinds.pop(), UNPACKED) if len(kinds) == 1 else UNPACKED


@contextmanager
def _alone(gguf: Path) -> Iterator[JsonObject]:
    """What transformers takes for a file, without the other files that lie beside it."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "model.gguf"
        try:
            link.symlink_to(gguf.resolve())
        except OSError:  # a system without links
            shutil.copy(gguf, link)
        yield {
            "pretrained_model_name_or_path": folder,
            "gguf_file": link.name,
            "local_files_only": True,
        }


def _tidy(reader: Reader, folder: Path, dtype: str) -> None:
    """The config without what is the file's and not the model's; the tokens that end a text.

    Args:
        dtype: to run in: activations may be too large for float16.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in OF_THE_FILE:
        config.pop(key, None)
    path.write_text(json.dumps(config | {"dtype": dtype}, indent=2), encoding="utf-8")
    ids = (told(reader, f"tokenizer.ggml.{name}_token_id") for name in ENDS)
    ends = list(dict.fromkeys(int(one) for one in ids if one is not None))
    path = folder / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": ends} if ends else {}), encoding="utf-8")
