"""The packs of a `vllm serve`: which edits a prompt of tokens fires, and what belongs where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import torch

from lks.errors import InputError, PackMismatch
from lks.model import tokens
from lks.model.embedder import Embedders
from lks.model.fingerprinting import tokenizer_hash
from lks.model.untyped import Tokenizer
from lks.packs.folder import MANIFEST
from lks.packs.manifest import verify
from lks.packs.pack import Pack
from lks.serving.front import Reading, read_tokens
from lks.serving.service import Snapshot


@dataclass(frozen=True)
class Served:
    """The model that is served, as far as its config and its tokenizer tell."""

    name: str
    tokenizer: Tokenizer
    n_layers: int
    width: int


@dataclass
class Packs:
    """Sets of facts, each of one pack, which may be changed while it is served.

    Attributes:
        layers: that blocks may be put in behind; any if there are none.
    """

    model: Served
    packs: Mapping[str, Path]
    default: str | None
    layers: Sequence[int] = ()
    _held: dict[str, tuple[object, Snapshot]] = field(default_factory=dict)
    _embedders: Embedders = field(default_factory=Embedders)
    _loading: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._special = tokens.special_ids(self.model.tokenizer)

    def load(self) -> None:
        """Read all packs; what is wrong with one is told now."""
        for name in self.packs:
            self.snapshot(name)

    def read(self, ids: Sequence[int], set_name: str | None) -> Reading:
        """What is in force for a prompt.

        Args:
            set_name: the default one for None; "" for the unedited model.
        """
        name = self.default if set_name is None else set_name
        if not name:
            return Reading(ids)
        return read_tokens(self.model.tokenizer, self._special, self.snapshot(name), ids)

    def snapshot(self, name: str) -> Snapshot:
        """What is in force in a set now; a pack that has changed is read anew."""
        path = self.packs.get(name)
        if path is None:
            raise InputError(f'there is no set "{name}"; there is {", ".join(self.packs)}')
        with self._loading:
            stamp = _stamp(path)
            held = self._held.get(name)
            if held is None or held[0] != stamp:
                held = self._held[name] = stamp, self._load(name, path)
            return held[1]

    def _load(self, name: str, path: Path) -> Snapshot:
        pack = Pack.load(path)
        self._check(path, pack)
        now = pack.in_force_with(self._embedders.of(pack.gate), torch.device("cpu"))
        return Snapshot(name, verify(path).version, now, pack.layers, pack.training.exact)

    def _check(self, path: Path, pack: Pack) -> None:
        """PackMismatch unless layers, width and tokenizer are those of the pack's model; vLLM keeps
        weights in another way, so that they are not compared."""
        base, here = pack.base_model, self.model
        different = [
            what
            for what, own, other in (
                ("number of layers", base.n_layers, here.n_layers),
                ("width", base.width, here.width),
                ("tokenizer", base.tokenizer, tokenizer_hash(here.tokenizer)),
            )
            if own != other
        ]
        if different:
            raise PackMismatch(
                f"{path}: was made for {base.name}, and {here.name} has another {different[0]}; "
                "serve the model that it was made for"
            )
        if missing := [layer for layer in pack.layers if self.layers and layer not in self.layers]:
            raise InputError(f'{path}: its blocks belong to layer {missing[0]}; add it to "layers"')


def _stamp(path: Path) -> object:
    """What changes with the pack's version: its manifest is written last, as a new file."""
    try:
        found = (path / MANIFEST).stat()
    except OSError as error:
        raise InputError(f"{path}: is no pack ({error.strerror})") from error
    return found.st_mtime_ns, found.st_ino, found.st_size
