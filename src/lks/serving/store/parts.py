"""The files beside the database: bases and blocks. They are added, never changed.

    sets/7/base-JOB/           a pack: the hypernetwork, the gate's metric, how blocks are put in
    sets/7/learnt/JOB.safetensors   blocks and the gate's references, by revision

A file is whole before the database names it. One that it does not name is what a crash has left,
and is removed when the store is opened.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lks.errors import OutputError, PackDamaged
from lks.files import to_disk
from lks.packs import learnt
from lks.packs.gate import exemplars_in
from lks.packs.pack import Pack
from lks.scope.gate.metric import Exemplars

SETS, LEARNT, SUFFIX = "sets", "learnt", ".safetensors"
Block = tuple[str, int]  # part, and the revision under whose number it lies there


class Parts:
    """The files of a store's sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / SETS

    def base(self, set_id: int, name: str) -> Path:
        return self.folder / str(set_id) / name

    def save_base(self, set_id: int, name: str, pack: Pack) -> None:
        """Write a set's base; OutputError where the disk says no."""
        path = self.base(set_id, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pack.save(path, overwrite=True)
        _folder_to_disk(path.parent)

    def save(
        self,
        set_id: int,
        part: str,
        revisions: Sequence[int],
        blocks: Tensor,
        exemplars: Exemplars | None,
    ) -> None:
        """Write the blocks of revisions, [n, d], and their references numbered in this order."""
        file = self._file(set_id, part)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            about = {"revisions": json.dumps([*revisions])}
            learnt.save(temporary, blocks, exemplars, about)
            to_disk(temporary)
            temporary.replace(file)
            _folder_to_disk(file.parent)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise OutputError.at(file, error) from error

    def load(self, set_id: int, wanted: Sequence[Block]) -> tuple[Tensor, Exemplars | None]:
        """Blocks, [n, d], and the references numbered in this order; None without a gate.

        Raises:
            PackDamaged: a file is missing or cannot be read.
        """
        by_part: dict[str, list[int]] = {}
        for place, (part, _) in enumerate(wanted):
            by_part.setdefault(part, []).append(place)
        order, blocks, exemplars = [], [], []
        for part, places in by_part.items():
            own, found = self._read(set_id, part, [wanted[place][1] for place in places])
            order += places
            blocks.append(own)
            exemplars.append(found)
        together = torch.cat(blocks)
        whole = torch.empty_like(together)
        whole[order] = together
        kept = [found for found in exemplars if found is not None]
        if len(kept) < len(exemplars):
            return whole, None
        joined = Exemplars.joined(kept, [len(places) for places in by_part.values()])
        number = {place: i for i, place in enumerate(order)}
        return whole, joined.only([number[place] for place in range(len(wanted))])

    def _read(
        self, set_id: int, part: str, revisions: Sequence[int]
    ) -> tuple[Tensor, Exemplars | None]:
        file = self._file(set_id, part)
        try:
            with safe_open(file, "numpy") as stored:
                held = json.loads(stored.metadata()["revisions"])
                row = {revision: place for place, revision in enumerate(held)}
                rows = [row[revision] for revision in revisions]
                blocks, found = learnt.blocks_in(stored)[rows], exemplars_in(stored)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise PackDamaged(
                f"{file}: cannot be read ({error}); bring it back from a backup of the store"
            ) from error
        return blocks, found.only(rows) if found else None

    def remove_set(self, set_id: int) -> None:
        """Remove all files of a set that was deleted."""
        shutil.rmtree(self.folder / str(set_id), ignore_errors=True)

    def remove_orphans(self, named: Mapping[int, tuple[str | None, set[str]]]) -> list[Path]:
        """Remove what no set names; what that was.

        Args:
            named: of each set its base, and its parts.
        """
        gone = [*self._orphans(named)]
        for path in gone:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return gone

    def _orphans(self, named: Mapping[int, tuple[str | None, set[str]]]) -> Iterator[Path]:
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            base, parts = named.get(
                int(folder.name) if folder.name.isdigit() else -1, (None, set())
            )
            if base is None:
                yield folder
                continue
            known = {base, LEARNT}
            yield from (path for path in folder.iterdir() if path.name not in known)
            files = {f"{part}{SUFFIX}" for part in parts}
            learnt = folder / LEARNT
            if learnt.is_dir():
                yield from (path for path in learnt.iterdir() if path.name not in files)

    def _file(self, set_id: int, part: str) -> Path:
        return self.folder / str(set_id) / LEARNT / f"{part}{SUFFIX}"


def _folder_to_disk(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
