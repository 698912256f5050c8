"""The sentence embedder all-MiniLM-L6-v2: a BERT encoder of six layers, in numpy.

Importing torch, transformers' model classes and sentence-transformers takes many times as long as
reading a question does. Tokens of several texts are read together without padding: only attention
and the mean need to know where a text ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from lks.model.engine.machine import default_threads

Array = NDArray[np.float32]

HEADS, LAYERS, EPSILON = 12, 6, np.float32(1e-12)
LONGEST = 256  # tokens of a text that are read, as sentence-transformers does
TOKENS_AT_ONCE = 512  # their states fit in a core's cache
GELU_AT_ONCE = 2**14  # the same, of single numbers


class MiniLM:
    """Texts to vectors of unit length.

    Args:
        folder: of the packaged model.
        added: what tuning adds to its weights.
    """

    def __init__(self, folder: Path, added: Mapping[str, Array] | None = None) -> None:
        self._weights: dict[str, Array] = load_file(folder / "model.safetensors")
        self._weights.pop("embeddings.position_ids", None)
        for name, change in (added or {}).items():
            self._weights[name] += change
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, up to 1,024 values each.

        The names are those of sentence-transformers, which made the packs of earlier versions.
        """
        digest = hashlib.sha256()
        for name, weight in sorted(self._weights.items()):
            flat = weight.reshape(-1)
            digest.update(f"0.model.{name}{weight.shape}".encode())
            digest.update(flat[:: max(1, flat.size // 1024)].tobytes())
        return digest.hexdigest()

    def encode(self, texts: Sequence[str]) -> Array:
        """[n] -> [n, 384]."""
        rows = [encoded.ids for encoded in self._tokenizer.encode_batch(list(texts))]
        chunks = list(_chunks(rows))
        with ThreadPoolExecutor(min(len(chunks), default_threads())) as pool:
            return np.concatenate(list(pool.map(self._read, chunks)))

    def _read(self, rows: Sequence[Sequence[int]]) -> Array:
        lengths = [len(row) for row in rows]
        starts = list(accumulate(lengths[:-1], initial=0))
        spans = [slice(start, start + n) for start, n in zip(starts, lengths, strict=True)]
        embeddings = self._weights["embeddings.word_embeddings.weight"]
        positions = self._weights["embeddings.position_embeddings.weight"]
        states = embeddings[np.concatenate(rows)]
        states += np.concatenate([positions[:n] for n in lengths])
        states += self._weights["embeddings.token_type_embeddings.weight"][0]
        states = self._norm(states, "embeddings.LayerNorm")
        for number in range(LAYERS):
            states = self._layer(states, f"encoder.layer.{number}", spans)
        means = np.add.reduceat(states, starts) / np.array(lengths, np.float32)[:, None]
        found: Array = means / np.linalg.norm(means, axis=-1, keepdims=True)
        return found

    def _layer(self, states: Array, layer: str, spans: Sequence[slice]) -> Array:
        """Outputs of a layer for the tokens of all texts, [t, d] -> [t, d]."""
        q, k, v = (
            self._linear(states, f"{layer}.attention.self.{part}").reshape(len(states), HEADS, -1)
            for part in ("query", "key", "value")
        )
        mixed = np.empty_like(states)
        for span in spans:
            mixed[span] = _attention(q[span], k[span], v[span])
        states = states + self._linear(mixed, f"{layer}.attention.output.dense")
        states = self._norm(states, f"{layer}.attention.output.LayerNorm")
        inner = _gelu(self._linear(states, f"{layer}.intermediate.dense"))
        states = states + self._linear(inner, f"{layer}.output.dense")
        return self._norm(states, f"{layer}.output.LayerNorm")

    def _linear(self, x: Array, name: str) -> Array:
        x = x @ self._weights[f"{name}.weight"].T
        x += self._weights[f"{name}.bias"]
        return x

    def _norm(self, x: Array, name: str) -> Array:
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + EPSILON)
        x *= self._weights[f"{name}.weight"]
        x += self._weights[f"{name}.bias"]
        return x


def _attention(q: Array, k: Array, v: Array) -> Array:
    """What the tokens of one text see of each other, [t, heads, w] each -> [t, d]."""
    q, k, v = (part.transpose(1, 0, 2) for part in (q, k, v))
    weights = q @ k.transpose(0, 2, 1) / np.float32(q.shape[-1] ** 0.5)
    weights = np.exp(weights - weights.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    seen: Array = (weights @ v).transpose(1, 0, 2).reshape(q.shape[1], -1)
    return seen


def _gelu(x: Array) -> Array:
    """x * P(a normal number < x), in place; numpy has no erf.

    1 - erf is Abramowitz and Stegun's formula 7.1.28, here within 1e-6 of the exact function.
    """
    flat = x.reshape(-1)
    for start in range(0, len(flat), GELU_AT_ONCE):
        part = flat[start : start + GELU_AT_ONCE]
        size = np.abs(part)
        scaled = np.minimum(size * np.float32(0.5**0.5), np.float32(5))
        tail = np.full_like(part, 4.30638e-5)
        for factor in (2.765672e-4, 1.520143e-4, 9.2705272e-3, 4.22820123e-2, 7.05230784e-2, 1):
            tail *= scaled
            tail += np.float32(factor)
        for _ in range(4):  # to the 16th
            tail *= tail
        np.maximum(part, 0, out=part)
        part -= size / (tail + tail)
    return x


def _chunks(rows: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Tokenised texts in their order, so many at once that they have about `TOKENS_AT_ONCE`."""
    chunk: list[Sequence[int]] = []
    for row in rows:
        if chunk and sum(map(len, chunk)) + len(row) > TOKENS_AT_ONCE:
            yield chunk
            chunk = []
        chunk.append(row)
    yield chunk
