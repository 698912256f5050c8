"""Which row of the ranks' banks holds which block: known by its content, kept while it is used."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from lks.errors import LKSError
from lks.serving.protocol import Blocks
from lks.serving.vllm.armed import kept
from lks.serving.vllm.settings import KEY

Rpc = Callable[..., Awaitable[object]]  # collective_rpc: (method, timeout, args)


class Rows:
    """Rows 1 to n. One that nobody uses keeps its block until another needs the place."""

    def __init__(self, n: int) -> None:
        self._free = list(range(n, 0, -1))
        self._row: dict[bytes, int] = {}
        self._users = Counter[bytes]()
        self._unused = OrderedDict[bytes, None]()  # the longest unused first

    def take(self, blocks: Sequence[bytes]) -> tuple[list[int], list[int]]:
        """(the row of each block, which of the blocks are not in theirs yet).

        Raises:
            LKSError: there are more blocks in use than rows; then nothing is taken.
        """
        new = [i for i, b in enumerate(blocks) if b not in self._row and b not in blocks[:i]]
        spare = len(self._free) + len(self._unused.keys() - set(blocks))
        if len(new) > spare:
            raise LKSError(
                f"{len(new)} more blocks are needed at once, and the bank has room for {spare}; "
                'give it more "rows"'
            )
        for block in blocks:
            self._unused.pop(block, None)
        for i in new:
            if not self._free:
                gone, _ = self._unused.popitem(last=False)
                self._free.append(self._row.pop(gone))
            self._row[blocks[i]] = self._free.pop()
        self._users.update(blocks)
        return [self._row[block] for block in blocks], new

    def give_back(self, blocks: Sequence[bytes]) -> None:
        self._users.subtract(blocks)
        for block in dict.fromkeys(blocks):
            if self._users[block] <= 0:
                del self._users[block]
                self._unused[block] = None

    def forget(self, blocks: Sequence[bytes]) -> None:
        """Blocks that did not reach their rows."""
        for block in blocks:
            del self._unused[block]
            self._free.append(self._row.pop(block))


@dataclass(frozen=True)
class Handed:
    """What vLLM is given beside a prompt.

    Attributes:
        extra: the plugin's, in the sampling parameters.
        salt: of the prefix cache: beginnings that are edited otherwise are others.
    """

    extra: dict[str, object]
    salt: str | None = None


class Bank:
    """The banks of all ranks, seen from where requests are made; for one event loop.

    Args:
        rpc: calls a method of every rank.
    """

    def __init__(self, rpc: Rpc, rows: int) -> None:
        self._rpc, self._rows = rpc, Rows(rows)
        self._filling = asyncio.Lock()

    @asynccontextmanager
    async def holding(
        self, blocks: Blocks | None, targets: Sequence[str] = (), begun: Sequence[int] = ()
    ) -> AsyncIterator[Handed]:
        """While this is open, the blocks of a request lie in rows of every rank's bank.

        Args:
            begun: the text's tokens at the end of the prompt, if it is taken up anew.
        """
        said: dict[str, object] = {"targets": list(targets)} if targets else {}
        if targets and begun:
            said["begun"] = list(begun)
        if blocks is None or not len(blocks.positions):
            yield Handed({KEY: said} if said else {})
            return
        by_layer = blocks.values.detach().to("cpu").float().transpose(0, 1)  # [k, m, d]
        values = by_layer.flatten(0, 1).contiguous().numpy()
        positions = [int(position) for position in blocks.positions] * len(blocks.layers)
        layers, keep, most = zip(
            *(
                (int(layer), *kept(blocks.form, scale))
                for layer, scale in zip(blocks.layers, blocks.scale, strict=True)
                for _ in blocks.positions
            ),
            strict=True,
        )
        how = np.array([keep, most], np.float32).T
        hashes = [
            hashlib.sha256(own.tobytes() + value.tobytes()).digest()
            for own, value in zip(how, values, strict=True)
        ]
        async with self._filling:
            rows, new = self._rows.take(hashes)
            try:
                if new:
                    filled = [rows[i] for i in new]
                    args = (
                        filled,
                        values[new].tobytes(),
                        [keep[i] for i in new],
                        [most[i] for i in new],
                    )
                    await self._rpc("lks_put", None, args)
            except BaseException:
                self._rows.give_back(hashes)
                self._rows.forget([hashes[i] for i in new])
                raise
        place = {"layers": list(layers), "positions": positions, "rows": rows}
        try:
            yield Handed({KEY: {**said, **place}}, salt(layers, positions, hashes))
        finally:
            self._rows.give_back(hashes)


def salt(layers: Sequence[int], positions: Sequence[int], hashes: Sequence[bytes]) -> str:
    """Of what is put in, and where: with other blocks, or elsewhere, states are others."""
    whole = hashlib.sha256(repr((list(layers), list(positions))).encode())
    for one in hashes:
        whole.update(one)
    return f"lks-{whole.hexdigest()}"
