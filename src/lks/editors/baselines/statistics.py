"""Second moments of MLP keys, E[k k^T], over some text: what weight editors shall preserve.

The text is a file's, or what the model writes itself when it is given nothing. A moment is kept in
the cache folder, under the hash of the model and of all that decides it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lks.editors.baselines.locate import projection, read
from lks.errors import InputError
from lks.files import cache_dir
from lks.model.backbone import Backbone
from lks.model.encoding import Encoding
from lks.model.engine.generation import continued

AT_ONCE = 32
WRITTEN_AT_ONCE = 256  # texts: a step of many costs little more than a step of few


@dataclass(frozen=True)
class Sample:
    """The text over which moments are taken.

    Attributes:
        tokens: how many, at least.
        length: of one piece of text, in tokens.
        file: take the text from here; otherwise the model writes it.
    """

    tokens: int = 20_000
    length: int = 128
    file: str | None = None
    seed: int = 0


def key_covariance(backbone: Backbone, layers: Sequence[int], sample: Sample) -> list[Tensor]:
    """E[k k^T] of each layer's down-projection, [k, k] float32 (ROME, section 3.1: C / n)."""
    paths = {layer: _path(backbone, layer, sample) for layer in layers}
    missing = [layer for layer, path in paths.items() if not path.exists()]
    if missing:
        for layer, moment in zip(missing, _key_covariance(backbone, missing, sample), strict=True):
            _save(moment, paths[layer])
    return [_load(paths[layer], backbone) for layer in layers]


def prefixes(backbone: Backbone, count: int, seed: int = 0) -> list[str]:
    """Beginnings that stand before an edit's prompt, so that it holds in any context: "" first.

    Half of them have 5 tokens and half have 10, as in ROME, appendix E.5.
    """
    if not count:
        return [""]
    ids = written(backbone, count, 10, seed)
    cut = [row[: 5 if i % 2 else 10] for i, row in enumerate(ids.tolist())]
    texts = [backbone.tokenizer.decode(row, skip_special_tokens=True).strip() for row in cut]
    return ["", *(f"{text}. " for text in texts)]


@torch.no_grad()
def written(backbone: Backbone, count: int, length: int, seed: int) -> Tensor:
    """Texts that the model writes when it is given nothing, [count, length] token ids."""
    first = backbone.tokenizer.bos_token_id
    first = backbone.pad_id if first is None else first
    start = torch.full((count, 1), first, device=backbone.device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inputs = {"input_ids": start, "attention_mask": torch.ones_like(start)}
        return continued(
            backbone, inputs, length, {"do_sample": True, "top_k": 0, "min_new_tokens": length}
        )


def _key_covariance(backbone: Backbone, layers: Sequence[int], sample: Sample) -> list[Tensor]:
    spots = [projection(backbone, layer) for layer in layers]
    sums = [torch.zeros(()) for _ in spots]
    count = 0
    for ids in _batches(backbone, sample):
        keys, _ = read(backbone, spots, Encoding([], [], [], ids, torch.ones_like(ids)))
        own = [key.flatten(0, 1).double() for key in keys]
        sums = [total + k.T @ k for total, k in zip(sums, own, strict=True)]
        count += ids.numel()
    return [(total / count).float() for total in sums]


def _batches(backbone: Backbone, sample: Sample) -> Iterator[Tensor]:
    """The sample as token ids, [b, length] at a time."""
    pieces = -(-sample.tokens // sample.length)
    if sample.file is None:
        yield from _written_once(backbone, pieces, sample).split(AT_ONCE)
        return
    try:
        text = Path(sample.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{sample.file}: cannot be read as text ({error})") from error
    tokens, _ = backbone.tokenize(text, chat=False)
    if len(tokens) < sample.tokens:
        raise InputError(
            f"{sample.file}: {len(tokens)} tokens, {sample.tokens} are wanted; "
            "give more text or a smaller sample"
        )
    ids = torch.tensor(tokens[: pieces * sample.length], device=backbone.device)
    whole = len(ids) // sample.length * sample.length
    yield from ids[:whole].view(-1, sample.length).split(AT_ONCE)


def _written_once(backbone: Backbone, pieces: int, sample: Sample) -> Tensor:
    """The model's own text, [pieces, length]; kept, for the moments of further layers."""
    path = _path(backbone, None, sample)
    if not path.exists():
        parts = [
            written(
                backbone, min(WRITTEN_AT_ONCE, pieces - start), sample.length, sample.seed + start
            )
            for start in range(0, pieces, WRITTEN_AT_ONCE)
        ]
        _save(torch.cat(parts), path)
    return _load(path, backbone)


def _path(backbone: Backbone, layer: int | None, sample: Sample) -> Path:
    own = {"model": backbone.fingerprint.to_json(), "layer": layer, **asdict(sample)}
    if sample.file is not None and Path(sample.file).is_file():
        own["file"] = hashlib.sha256(Path(sample.file).read_bytes()).hexdigest()
    name = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:24]
    return cache_dir() / "moments" / f"{name}.safetensors"


def _load(path: Path, backbone: Backbone) -> Tensor:
    (kept,) = load_file(path).values()  # whatever its name: moments had another one before
    found: Tensor = kept.to(backbone.device)
    return found


def _save(kept: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    save_file({"kept": kept.cpu().contiguous()}, temporary)
    Path(temporary).replace(path)
