"""The sentence embedder all-MiniLM-L6-v2: a BERT encoder of six layers, in numpy.

Importing torch, transformers' model classes and sentence-transformers takes many times as long as
reading a question does. Tokens of several texts are read together without padding: only attention
and the mean need to know where a text ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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

    Attributes:
        fingerprint: hash of the weights.
    """

    def __init__(self, folder: Path, added: Mapping[str, Array] | None = None) -> None:
        weights: dict[str, Array] = load_file(folder / "model.safetensors")
        weights.pop("embeddings.position_ids", None)
        for name, change in (added or {}).items():
            weights[name] += change
        self.fingerprint = _fingerprint(weights)
        self._words = weights["embeddings.word_embeddings.weight"]
        self._positions = weights["embeddings.position_embeddings.weight"]
        self._positions += weights["embeddings.token_type_embeddings.weight"][0]  # one kind only
        self._first_norm = _Norm.of(weights, "embeddings.LayerNorm")
        self._layers = [_Layer.of(weights, f"encoder.layer.{i}") for i in range(LAYERS)]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)

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
        states = self._words[np.concatenate(rows)]
        states += np.concatenate([self._positions[:n] for n in lengths])
        states = self._first_norm(states)
        for layer in self._layers:
            states = layer(states, spans)
        means = np.add.reduceat(states, starts) / np.array(lengths, np.float32)[:, None]
        found: Array = means / np.linalg.norm(means, axis=-1, keepdims=True)
        return found


@dataclass(frozen=True)
class _Linear:
    """x -> x W + b. W lies as it is read, [in, out]: for a few tokens that takes half the time."""

    weight: Array
    bias: Array

    @classmethod
    def of(cls, weights: Mapping[str, Array], *names: str) -> _Linear:
        """One map of several that read the same, their outputs side by side."""
        weight = np.concatenate([weights[f"{name}.weight"] for name in names])
        bias = np.concatenate([weights[f"{name}.bias"] for name in names])
        return cls(np.ascontiguousarray(weight.T), bias)

    def __call__(self, x: Array) -> Array:
        x = x @ self.weight
        x += self.bias
        return x


@dataclass(frozen=True)
class _Norm:
    """Layer normalisation."""

    weight: Array
    bias: Array

    @classmethod
    def of(cls, weights: Mapping[str, Array], name: str) -> _Norm:
        return cls(weights[f"{name}.weight"], weights[f"{name}.bias"])

    def __call__(self, x: Array) -> Array:
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + EPSILON)
        x *= self.weight
        x += self.bias
        return x


@dataclass(frozen=True)
class _Layer:
    """One layer of the encoder."""

    qkv: _Linear
    mixed: _Linear
    mixed_norm: _Norm
    inner: _Linear
    outer: _Linear
    outer_norm: _Norm

    @classmethod
    def of(cls, weights: Mapping[str, Array], name: str) -> _Layer:
        own = f"{name}.attention.self"
        return cls(
            _Linear.of(weights, f"{own}.query", f"{own}.key", f"{own}.value"),
            _Linear.of(weights, f"{name}.attention.output.dense"),
            _Norm.of(weights, f"{name}.attention.output.LayerNorm"),
            _Linear.of(weights, f"{name}.intermediate.dense"),
            _Linear.of(weights, f"{name}.output.dense"),
            _Norm.of(weights, f"{name}.output.LayerNorm"),
        )

    def __call__(self, states: Array, spans: Sequence[slice]) -> Array:
        """Outputs for the tokens of all texts, [t, d] -> [t, d]."""
        q, k, v = self.qkv(states).reshape(len(states), 3, HEADS, -1).transpose(1, 0, 2, 3)
        mixed = np.empty_like(states)
        for span in spans:
            mixed[span] = _attention(q[span], k[span], v[span])
        states = self.mixed_norm(states + self.mixed(mixed))
        return self.outer_norm(states + self.outer(_gelu(self.inner(states))))


def _fingerprint(weights: Mapping[str, Array]) -> str:
    """Hash of up to 1,024 values of each weight.

    The names are those of sentence-transformers, which made the packs of earlier versions.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        flat = weight.reshape(-1)
        digest.update(f"0.model.{name}{weight.shape}".encode())
        digest.update(flat[:: max(1, flat.size // 1024)].tobytes())
    return digest.hexdigest()


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
