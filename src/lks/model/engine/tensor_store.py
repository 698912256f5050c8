"""Tensors that are made once and read often: in memory up to a budget, beyond it in a mapped file.

The file has no name and goes with the process.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import IO

import torch
from torch import Tensor

from lks.errors import OutputError

SEGMENT = 256 * 2**20  # bytes by which the file grows
ALIGNED = 64


class TensorStore:
    """Keeps tensors.

    Args:
        budget: bytes of tensors to hold in memory; None for no limit.
    """

    def __init__(self, budget: int | None = None) -> None:
        self._left = budget
        self._file: IO[bytes] | None = None
        self._segments: list[mmap.mmap] = []
        self._used = SEGMENT  # of the last segment

    @property
    def on_disk(self) -> int:
        """Bytes of the file."""
        return sum(len(segment) for segment in self._segments)

    def put(self, tensor: Tensor) -> Tensor:
        """The same values, in a place of the store's choice; not to be written to."""
        size = tensor.numel() * tensor.element_size()
        if self._left is None or size == 0:
            return tensor
        if size <= self._left:
            self._left -= size
            return tensor
        self._left = 0  # what follows goes to the file as well
        kept = torch.frombuffer(
            self._room(size), dtype=tensor.dtype, count=tensor.numel(), offset=self._used
        ).view(tensor.shape)
        self._used += -(-size // ALIGNED) * ALIGNED
        return kept.copy_(tensor)

    def release(self) -> None:
        """Let the system take back memory that mirrors the file; nothing is lost."""
        for segment in self._segments:
            if hasattr(mmap, "MADV_DONTNEED"):
                segment.madvise(mmap.MADV_DONTNEED)

    def _room(self, size: int) -> mmap.mmap:
        """The segment in which `size` bytes fit behind `_used`."""
        if self._used + size <= (len(self._segments[-1]) if self._segments else 0):
            return self._segments[-1]
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the store
        start, length = self.on_disk, max(SEGMENT, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), start, length)
            else:
                os.ftruncate(self._file.fileno(), start + length)
            self._segments.append(mmap.mmap(self._file.fileno(), length, offset=start))
        except OSError as error:
            raise OutputError(
                f"{tempfile.gettempdir()}: no room for {length >> 20} MB of training texts "
                f"({error.strerror}); free some, set TMPDIR, or allow more --memory"
            ) from error
        self._used = 0
        return self._segments[-1]
