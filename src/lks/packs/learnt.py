"""The files of what training made of edits: their blocks, and the references of the gate.

Nothing is rounded here: what is in 8 bits in memory is so in the file, and what is not is as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from lks.blocks.rows import Rows
from lks.packs.gate import REFERENCES
from lks.scope.gate.metric import Exemplars

BLOCKS, SCALES = "blocks", "scales"


def save(
    file: Path, blocks: Tensor, exemplars: Exemplars | None, about: Mapping[str, str]
) -> dict[str, str]:
    """Write the blocks of some edits, [n, d], and their references, numbered in this order.

    Args:
        about: what the file says of itself beside.

    Returns: in which type of numbers each of both is stored.
    """
    rows = Rows.of(blocks.detach().cpu())
    arrays: dict[str, NDArray[Any]] = {BLOCKS: rows.values.numpy()}
    if rows.scales is not None:
        arrays[SCALES] = rows.scales.numpy()
    stored = {"blocks": str(arrays[BLOCKS].dtype)}
    if exemplars is not None:
        arrays |= {f"{REFERENCES}{name}": own for name, own in exemplars.stored().items()}
        stored["references"] = str(exemplars.vectors.dtype)
    save_arrays(arrays, file, about)
    return stored


def save_arrays(
    arrays: Mapping[str, NDArray[Any]], file: Path, about: Mapping[str, str] | None = None
) -> None:
    """Write arrays, however they lie in memory: safetensors takes the bytes as they follow."""
    laid_out = {name: np.ascontiguousarray(own) for name, own in arrays.items()}
    save_file(laid_out, file, dict(about) if about else None)


def blocks_in(stored: Any) -> Tensor:
    """The blocks in an open file, [n, d]; KeyError if there are none."""
    values = torch.from_numpy(stored.get_tensor(BLOCKS))
    if SCALES not in stored.keys():  # noqa: SIM118
        return Rows(values).all
    return Rows(values, torch.from_numpy(stored.get_tensor(SCALES))).all
