"""The default sentence embedder: two encoders side by side, both tuned to what a question asks for.

    v(text) = [u(text), m(text)] / sqrt(2), so that a cosine is the mean of two

u is the multilingual sentence encoder of `use`, m all-MiniLM-L6-v2, which tells English questions
apart where u does not, and the other way round. MiniLM knows English only. For other languages m is
what a linear map, fitted on English wordings, makes of u. `tools/tune_embedder.py` made what lies
in this folder: the map, and what tuning adds to each weight, in eight bits with a scale for each
column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from lks.model import hub
from lks.model.minilm import MiniLM
from lks.model.use import TunedUSE, changes
from lks.scope.bank.words import is_english

Array = NDArray[np.float32]

TUNING = "minilm-tuning.safetensors"
MAP = "from_use"  # [512, 384]


class Duo:
    """Texts to vectors of unit length.

    Attributes:
        use: the first encoder; it is the quicker one.
    """

    def __init__(self, echo: Callable[[str], None] = lambda text: None) -> None:
        self.use = TunedUSE()
        content = files(__package__).joinpath(TUNING).read_bytes()
        tuning = load(content)
        self._map = tuning.pop(MAP).astype(np.float32)
        self._minilm = MiniLM(hub.fetch("minilm", echo), changes(tuning))
        own = hashlib.sha256(content).hexdigest()
        self.fingerprint = hashlib.sha256(f"{self.use.fingerprint} {own}".encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> Array:
        """[n] -> [n, 896]."""
        one = self.use.encode(texts)
        other = one @ self._map
        other /= np.maximum(np.linalg.norm(other, axis=-1, keepdims=True), 1e-9)
        english = [i for i, text in enumerate(texts) if is_english(text)]
        if english:
            other[english] = self._minilm.encode([texts[i] for i in english])
        joined = np.concatenate([one, other], axis=-1)
        return (joined * np.float32(0.5**0.5)).astype(np.float32)
