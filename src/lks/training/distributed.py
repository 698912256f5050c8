"""Processes that train one pack together, through Hugging Face Accelerate.

Every process has the whole model and all blocks; edit i's texts belong to process i mod `size`. In
a step each process makes the gradients of its own texts, and the sum is the same everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class ProcessGroup:
    """The processes that train together; one alone, if not made by `of_environment`."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def of_environment(cls, device: torch.device) -> ProcessGroup:
        """The processes that `accelerate launch` or `torchrun` started, each on such a device."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=device.type == "cpu")
        return cls(state.process_index, state.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def owns(self, edit: int) -> bool:
        """Whether the edit's texts belong to this process."""
        return edit % self.size == self.rank

    def gathered(self, own: list[T]) -> list[T]:
        """The lists of all processes, one after the other."""
        if self.size == 1:
            return own
        from accelerate.utils import gather_object

        found: list[T] = gather_object(own)
        return found

    def in_order(self, own: list[T]) -> list[T]:
        """One value an edit, in the order of the edits, from those of each process's own edits."""
        lists = self.gathered([own])
        return [lists[i % self.size][i // self.size] for i in range(sum(map(len, lists)))]

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size == 1:
            return values
        from accelerate.utils import reduce

        total: Tensor = reduce(values, reduction="sum")
        return total

    def sum_gradients(self, parameters: Iterable[nn.Parameter], *, sparse: bool) -> None:
        """Give all processes the sum of their gradients; sparse ones travel as rows."""
        if self.size == 1:
            return
        for parameter in parameters:
            if not sparse:
                own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self.summed(own)
                continue
            rows = [] if parameter.grad is None else [_parts(parameter.grad)]
            parts = self.gathered(rows)
            if parts:
                indices = torch.cat([part[0] for part in parts], 1).to(parameter.device)
                values = torch.cat([part[1] for part in parts]).to(parameter.device)
                parameter.grad = torch.sparse_coo_tensor(indices, values, parameter.shape)


def _parts(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Indices [1, k] and rows [k, d] of a sparse gradient."""
    whole = grad.coalesce()
    return whole.indices().cpu(), whole.values().cpu()
