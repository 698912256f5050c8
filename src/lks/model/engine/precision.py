"""In which precision a machine is fast: measured, since no flag of a CPU tells it.

With bfloat16 units a product takes a quarter of the time that it takes in float32; without them
torch works them out, and it takes four times as long.
"""

from __future__ import annotations

import hashlib
import platform
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import linear

from lks.model import kept
from lks.model.backbone import Backbone

TOKENS, WIDTH = 256, 1024  # of the product that is timed: a batch of short texts, a middling layer
TRIALS = 5


def fast_dtype(backbone: Backbone) -> torch.dtype:
    """In which the frozen layers of a model are quickest to train through."""
    own = next(backbone.model.parameters()).dtype
    if backbone.device.type == "cpu":
        return cpu_dtype()
    return own if own == torch.float16 else torch.bfloat16


def cpu_dtype() -> torch.dtype:
    """float32 or bfloat16; measured once for a machine, and kept in the cache folder."""
    name = f"precision-{_machine()}"
    seconds = kept.load(name)
    if seconds is None or seconds.shape != (2,):
        seconds = np.array(_seconds())
        kept.save(name, seconds)
    return torch.float32 if seconds[0] <= seconds[1] else torch.bfloat16


@torch.no_grad()
def _seconds() -> tuple[float, float]:
    """Of one product in float32 and in bfloat16, the best of some in turn."""
    best = [float("inf")] * 2
    dtypes = torch.float32, torch.bfloat16
    pairs = [
        (torch.ones(TOKENS, WIDTH, dtype=d), torch.ones(WIDTH, WIDTH, dtype=d)) for d in dtypes
    ]
    for trial in range(TRIALS + 1):
        for i, pair in enumerate(pairs):
            started = time.perf_counter()
            linear(*pair)
            if trial:  # the first one is slower: libraries get ready
                best[i] = min(best[i], time.perf_counter() - started)
    return best[0], best[1]


def _machine() -> str:
    """What the speed depends on: the processor, the threads, and torch."""
    told = [
        platform.machine(),
        platform.processor(),
        torch.__version__,
        str(torch.get_num_threads()),
    ]
    described = Path("/proc/cpuinfo")
    if described.exists():
        lines = described.read_text(encoding="utf-8", errors="replace").splitlines()
        told += sorted({line for line in lines if line.startswith(("model name", "flags", "Feat"))})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
