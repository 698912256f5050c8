"""What a pack remembers of its model, to tell it from another: only what changes hidden states.

The same checkpoint is the same model in float32, float16 and bfloat16. Their roundings differ, so
that no hash of the weights can be the same in all of them: some values of each tensor are kept, and
compared with a tolerance. Settings are compared where both models have them: a newer transformers
may know more of them, and not all are the architecture's (names, labels, what is printed).

The hashes are those of earlier versions. Equal ones need no further look, and a pack that has
nothing else is held against them. How a fingerprint is taken: `fingerprinting.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lks.json_record import JsonObject, KeptRecord

# Two roundings to bfloat16 differ by at most 2^-8 of a value, and float16 is coarse near zero.
RELATIVE, ABSOLUTE = 2.0**-7, 1e-7


@dataclass(frozen=True)
class Fingerprint(KeptRecord):
    """The fingerprint of a model. What may be None is not in packs of early versions.

    Attributes:
        name: what the user called the model.
        config, tokenizer, weights: hashes.
        settings: the configuration's, of the architecture.
        shapes: a hash of the names and shapes of all tensors.
        sample: some values of each tensor, bfloat16 in base64.
        adapters: names of adapters that are in the model.
    """

    name: str
    n_layers: int
    width: int
    config: str
    tokenizer: str
    weights: str
    settings: JsonObject | None = None
    shapes: str | None = None
    sample: str | None = None
    adapters: tuple[str, ...] | None = None

    def difference(self, here: Fingerprint) -> str | None:
        """What `here` has that is not the model's that this one is of; None if it is that one."""
        for what, own, other in (
            ("number of layers", self.n_layers, here.n_layers),
            ("width", self.width, here.width),
        ):
            if own != other:
                return f"another {what} ({own}, here {other})"
        if self.config != here.config:
            if self.settings is None:
                return "another configuration"
            if changed := next(_changed(self.settings, here.settings or {}), None):
                return f"another configuration ({changed})"
        if self.tokenizer != here.tokenizer:
            return "another tokenizer"
        if (self.adapters or ()) != (here.adapters or ()):
            names = [", ".join(one.adapters or ()) or "none" for one in (self, here)]
            return f"other adapters ({names[0]}, here {names[1]})"
        if self.weights != here.weights and not self._same_weights(here):
            return "other weights"
        return None

    def _same_weights(self, here: Fingerprint) -> bool:
        if self.sample is None or here.sample is None or self.shapes != here.shapes:
            return False
        one, two = _values(self.sample), _values(here.sample)
        return one.shape == two.shape and np.allclose(
            one, two, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True
        )


def _changed(made_for: JsonObject, here: JsonObject) -> Iterator[str]:
    """Settings that both have, and not alike."""
    for key in sorted(made_for.keys() & here.keys()):
        one, two = made_for[key], here[key]
        if isinstance(one, dict) and isinstance(two, dict):
            yield from _changed(one, two)
        elif one != two:
            yield f"{key} {one}, here {two}"


def _values(sample: str) -> NDArray[np.float32]:
    """bfloat16 is the upper half of a float32."""
    bits = np.frombuffer(base64.b64decode(sample), "<u2").astype(np.uint32)
    return (bits << 16).view(np.float32)
