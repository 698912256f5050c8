"""The sentence embedder of the relation gate.

The default is `duo`: `use` and `minilm`, both tuned. Packs of earlier versions have `minilm`. Any
other is read by sentence-transformers, an extra, which brings pooling and normalisation as each
model wants them. Nothing is loaded before the first text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from lks.edits.text import encodable
from lks.errors import MissingExtra, ModelError, PackMismatch
from lks.model import hub, kept
from lks.scope.gate.metric import GateState

if TYPE_CHECKING:
    from lks.model.duo import Duo

TEXTS_A_BATCH = 64
REMEMBERED = 1000  # texts
DEFAULT = "duo"
SAME = {"duo": 0.6, "use": 0.62}  # cosine from which two texts ask the same; see experiments/log
USUALLY = 0.7  # of other embedders
EXTRA = "embedders"  # brings sentence-transformers


class _Encoder(Protocol):
    """A loaded embedder; `fingerprint` is a hash of its weights."""

    @property
    def fingerprint(self) -> str: ...
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Embedder:
    """Texts to vectors of unit length, [n] -> [n, w] float32.

    Args:
        name: `duo`, `use` (in the package), `minilm` (all-MiniLM-L6-v2, fetched once, as `duo` has
            it fetched), a local folder, or the hub id of any sentence-transformers model, which
            needs the extra `embedders`.
        expected: the fingerprint that it must have; PackMismatch if it has another.
        loaded: gives the encoder of this name that somebody has loaded already.
    """

    def __init__(
        self,
        name: str = DEFAULT,
        *,
        expected: str | None = None,
        device: str = "cpu",
        echo: Callable[[str], None] = lambda text: None,
        loaded: Callable[[], _Encoder] | None = None,
    ) -> None:
        self.name, self._expected, self._device, self._echo = name, expected, device, echo
        self._given = loaded
        self._lately: dict[str, NDArray[np.float32]] = {}  # the oldest first
        self._remembering = Lock()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not len(texts):
            return np.zeros((0, self.width), np.float32)
        wanted = list(dict.fromkeys(texts))
        with self._remembering:
            found = {text: self._lately[text] for text in wanted if text in self._lately}
        if new := [text for text in wanted if text not in found]:
            vectors = self._model.encode([encodable(text) for text in new])
            found.update(zip(new, vectors, strict=True))
        if len(wanted) <= REMEMBERED:
            self._remember(found)
        return np.stack([found[text] for text in texts])

    def _remember(self, found: Mapping[str, NDArray[np.float32]]) -> None:
        """A chat's earlier sentences are asked for again with each turn, and with each word."""
        with self._remembering:
            for text, vector in found.items():
                self._lately.pop(text, None)
                self._lately[text] = vector.copy()  # not the whole batch that it is a row of
            while len(self._lately) > REMEMBERED:
                del self._lately[next(iter(self._lately))]

    def kept(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As a call, of texts that every process asks for: made once, and kept in the cache."""
        asked = hashlib.sha256("\n".join([self.fingerprint, *texts]).encode()).hexdigest()[:24]
        found = kept.load(f"embedded/{asked}")
        if found is None:
            found = self(texts)
            kept.save(f"embedded/{asked}", found)
        return np.asarray(found, np.float32)

    @property
    def same(self) -> float:
        """The cosine from which two texts are taken to ask the same."""
        return SAME.get(self.name, USUALLY)

    @cached_property
    def quick(self) -> Embedder:
        """A quicker one of the same kind, to choose among thousands of texts."""
        return Embedder("use", loaded=self._quicker) if self.name == DEFAULT else self

    def _quicker(self) -> _Encoder:
        """The quicker one of the default's two encoders, which are loaded together."""
        return cast("Duo", self._model).use

    @property
    def width(self) -> int:
        return int(self([""]).shape[1])

    @property
    def fingerprint(self) -> str:
        """Hash of the weights: vectors of another embedder cannot be compared."""
        return self._model.fingerprint

    @cached_property
    def _model(self) -> _Encoder:
        model = self._loaded()
        if self._expected not in (None, found := model.fingerprint):
            raise PackMismatch(
                f"the pack's relation gate was made with another embedder than '{self.name}' here "
                f"(hash {str(self._expected)[:12]}, here {found[:12]}); restore it or train again"
            )
        return model

    def _loaded(self) -> _Encoder:
        name = self.name
        if self._given:
            return self._given()
        if name == DEFAULT:
            from lks.model.duo import Duo

            return Duo(self._echo)
        if name == "use":
            from lks.model.use import TunedUSE

            return TunedUSE()
        if name == "minilm":
            from lks.model.minilm import MiniLM

            return MiniLM(hub.fetch(name, self._echo))
        if not Path(name).is_dir() and name.count("/") != 1:
            raise ModelError(
                f"unknown embedder '{name}'; give {DEFAULT}, use, minilm, a local folder, "
                "or the hub id of a sentence-transformers model (owner/name)"
            )
        try:
            return _SentenceTransformer(name, self._device)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"embedder '{self.name}' cannot be loaded: {reason}") from error


class _SentenceTransformer:
    """An embedder that sentence-transformers reads."""

    def __init__(self, name: str, device: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            raise MissingExtra(f"embedder '{name}'", error, EXTRA) from error
        with hub.no_bars():
            self._model = SentenceTransformer(name, device=device)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = self._model.encode(
            list(texts),
            batch_size=TEXTS_A_BATCH,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(found, np.float32)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for key, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{key}{tuple(tensor.shape)}".encode())
            flat = tensor.reshape(-1)
            sample = flat[:: max(1, flat.numel() // 1024)].float().cpu()
            digest.update(sample.numpy().tobytes())
        return digest.hexdigest()


class Embedders:
    """The embedders of gates, each loaded once for all that ask here. Any thread may ask."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Embedder] = {}

    def of(self, gate: GateState | None) -> Embedder | None:
        """What a gate compares questions with; None without one."""
        if gate is None:
            return None
        name, fingerprint = key = gate.embedder, gate.fingerprint
        return self._known.setdefault(key, Embedder(name, expected=fingerprint))


class CachedEmbedder:
    """An embedder that reads each text once."""

    def __init__(self, embed: Embedder) -> None:
        self._embed, self.name, self.same, self.quick = embed, embed.name, embed.same, embed.quick
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._embed(new) if new else (), strict=True))
        return np.stack([self._known[text] for text in texts])
