"""What is in force in each set, in memory: one snapshot a set, which a change takes the place of.

A change is prepared while nothing is locked, since an index of many names takes seconds to make.
Then, under the lock, the database says what is to be in force; if the prepared snapshot has all of
that, or less what can be left out at once, it is committed and takes its place. Else it is prepared
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock, RLock
from typing import Protocol

import torch
from sqlalchemy.orm import Session
from torch import Tensor

from lks.blocks.bank import Bank
from lks.blocks.in_force import InForce
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import NotFound, PackMismatch, StoreError
from lks.model.backbone import Backbone
from lks.model.embedder import Embedder, Embedders
from lks.packs.pack import Pack
from lks.scope.config import preset
from lks.scope.gate.metric import Exemplars
from lks.scope.scope import Scope
from lks.serving.service import Snapshot
from lks.serving.store import queries
from lks.serving.store.changes import turned_over
from lks.serving.store.database import Database
from lks.serving.store.parts import Block, Parts
from lks.serving.store.schema import RevisionRow, SetRow
from lks.training.config import TrainingConfig

Key = tuple[str, str]  # tenant, set


@dataclass(frozen=True, eq=False)
class Base:
    """What all blocks of a set were made with: the pack of its first facts, without these.

    Attributes:
        name: of its folder.
    """

    name: str
    pack: Pack
    embedder: Embedder | None

    @classmethod
    def of(cls, name: str, pack: Pack, embedders: Embedders) -> Base:
        gate = pack.gate
        if gate is not None:
            gate = replace(gate, exemplars=Exemplars.none(len(gate.metric.matrix)))
        bare = replace(pack, edits=EditSet(), blocks=pack.blocks[:0], gate=gate, tested=None)
        return cls(name, bare, embedders.of(pack.gate))


@dataclass(frozen=True, eq=False)
class Held:
    """A set's snapshot, and which revisions are in it.

    Attributes:
        revisions: fact -> revision, in the order of the edits.
        base: None before the first facts.
    """

    set_id: int
    snapshot: Snapshot
    revisions: Mapping[str, int]
    base: Base | None

    def only(self, target: Mapping[str, int], version: int) -> Held | None:
        """The same, less what is not in `target`; None if it lacks something of that."""
        if not target.items() <= self.revisions.items():
            return None
        in_force = self.snapshot.in_force
        gone = self.revisions.keys() - target.keys()
        if gone:
            embedder = self.base.embedder if self.base else None
            in_force = in_force.without(gone, embedder)
        snapshot = replace(self.snapshot, version=version, in_force=in_force)
        kept = {fact: row for fact, row in self.revisions.items() if fact not in gone}
        return replace(self, snapshot=snapshot, revisions=kept)


class Fetch(Protocol):
    """Gives revisions' edits, their blocks, [n, d], and the references of the gate."""

    def __call__(
        self, set_id: int, revisions: Sequence[int]
    ) -> tuple[list[Edit], Tensor, Exemplars | None]: ...


class _Stale(Exception):
    """What was prepared lacks something that is to be in force."""

    def __init__(self, target: Mapping[str, int]) -> None:
        super().__init__()
        self.target = target


Decide = Callable[[Session, SetRow], None]


class Snapshots:
    """The snapshots of all sets, and the one way to change them.

    Args:
        config: of sets without facts, which have no base yet.
        embedders: that the gates of all sets share.
        follows: another process writes the store.
    """

    def __init__(
        self,
        database: Database,
        parts: Parts,
        backbone: Backbone,
        config: TrainingConfig,
        embedders: Embedders,
        *,
        follows: bool = False,
    ) -> None:
        self._database, self._parts, self._backbone = database, parts, backbone
        self._config, self.embedders, self._follows = config, embedders, follows
        self._held: dict[Key, Held] = {}
        self.lock = RLock()  # held while the database is changed, never while anything is trained
        self._publishing = Lock()  # held from a change until its snapshot has taken its place

    def get(self, key: Key) -> Held:
        """What is in force now; NotFound if there is no such set."""
        held = self._held.get(key)
        if held is None:
            raise NotFound(f'no set "{key[1]}"; make it first, or ask for one that there is')
        return held

    @property
    def keys(self) -> list[Key]:
        return [*self._held]

    def change(self, key: Key, decide: Decide, prepared: Held | None = None) -> Held:
        """Change a set in the database and in memory, both or none; what is in force then.

        Args:
            decide: makes the changes in the database; it may be called more than once, each time
                with a session in which nothing has happened.
            prepared: a snapshot that has what will come into force, so far as that is known.
        """
        tenant, name = key
        prepared = prepared or self.get(key)
        while True:
            try:
                with self.lock, self._database.writing() as session:
                    row = queries.set_row(session, tenant, name, locked=True)
                    before = row.version
                    self._check_alone(key, row)
                    decide(session, row)
                    session.flush()
                    held = self._changed(key, session, row, before, prepared)
                    self.publish(session, key, held)
                    return held
            except _Stale as stale:
                prepared = self._advanced(self.get(key), stale.target)

    def _changed(
        self, key: Key, session: Session, row: SetRow, before: int, prepared: Held
    ) -> Held:
        """The snapshot of what the database has now; _Stale if it must be prepared first."""
        now = self.get(key)
        if row.version == before:
            return now
        # asking the database for all that is in force would take longer than the change
        target = turned_over(session).of(now.revisions)
        for known in (now, prepared):
            if (made := known.only(target, row.version)) is not None:
                return made
        raise _Stale(target)

    def _check_alone(self, key: Key, row: SetRow) -> None:
        """StoreError if somebody else has changed a set: a lock is lost where a database restarts,
        and then what is in force here is not what it says."""
        held = self.get(key)
        if (held.set_id, held.snapshot.version) != (row.id, row.version):
            raise StoreError(
                f'set "{row.name}": another server has changed it, to version {row.version}, while '
                "this one wrote the store; restart this one"
            )

    def _advanced(self, held: Held, target: Mapping[str, int]) -> Held:
        """What is in force when these revisions are, in this order as far as they are new."""
        kept = {fact: row for fact, row in target.items() if held.revisions.get(fact) == row}
        left = held.only(kept, held.snapshot.version)
        assert left is not None
        new = [row for fact, row in target.items() if fact not in kept]
        return self.joined(left, new, self.fetch) if new else left

    def joined(
        self,
        held: Held,
        revisions: Sequence[int],
        fetch: Fetch,
        base: Base | None = None,
    ) -> Held:
        """The same with more revisions in force, in place of those that they displace.

        Args:
            base: of a set that has none yet.
        """
        base = held.base or base
        if base is None:
            with self._database.reading() as session:
                row = session.get_one(SetRow, held.set_id)
                base = self.base_of(row)
        assert base is not None
        edits, blocks, exemplars = fetch(held.set_id, revisions)
        if held.base is None:
            in_force = self._built(base, edits, blocks, exemplars)
        else:
            in_force = held.snapshot.in_force.joined(
                EditSet(edits), blocks, exemplars, base.embedder
            )
        come = dict(zip((edit.id for edit in edits), revisions, strict=True))
        return self.with_in_force(held, in_force, come, base)

    @staticmethod
    def with_in_force(held: Held, in_force: InForce, come: Mapping[str, int], base: Base) -> Held:
        """What is held when this is in force, in which `come` are new."""
        known = {**held.revisions, **come}
        snapshot = replace(
            held.snapshot,
            in_force=in_force,
            layers=base.pack.layers,
            exact=base.pack.training.exact,
        )
        return Held(held.set_id, snapshot, {e: known[e] for e in in_force.edits}, base)

    def fetch(
        self, set_id: int, revisions: Sequence[int]
    ) -> tuple[list[Edit], Tensor, Exemplars | None]:
        """What the store holds of revisions that have their blocks."""
        with self._database.reading() as session:
            rows = queries.rows_of(session, revisions)
        return self.fetched(set_id, [rows[revision] for revision in revisions])

    def fetched(
        self, set_id: int, rows: Sequence[RevisionRow]
    ) -> tuple[list[Edit], Tensor, Exemplars | None]:
        wanted: list[Block] = [(row.part or "", row.block or row.id) for row in rows]
        blocks, exemplars = self._parts.load(set_id, wanted)
        return [queries.edit_of(row.record) for row in rows], blocks, exemplars

    # --- from the database

    def load_all(self) -> None:
        """Read all sets anew, and only what has changed since the last time."""
        with self._publishing:
            self._load_all()

    def _load_all(self) -> None:
        with self._database.reading() as session:
            rows = queries.live_sets(session)
            targets = {
                row.id: queries.in_force(session, row.id)
                for row, tenant in rows
                if self._is_new((tenant, row.name), row)
            }
        for row, tenant in rows:
            key = tenant, row.name
            if (target := targets.get(row.id)) is None:
                continue
            start = self._held.get(key)
            if start is None or start.set_id != row.id:
                start = self.empty(row)
            held = self._advanced(start, target)
            self._held[key] = replace(held, snapshot=replace(held.snapshot, version=row.version))
        for key in self._held.keys() - {(tenant, row.name) for row, tenant in rows}:
            del self._held[key]

    def _is_new(self, key: Key, row: SetRow) -> bool:
        held = self._held.get(key)
        return held is None or (held.set_id, held.snapshot.version) != (row.id, row.version)

    def publish(self, session: Session, key: Key, held: Held | None) -> None:
        """Commit, and let the snapshot take its place; None takes the set away."""
        with self._publishing:
            session.commit()
            if held is None:
                del self._held[key]
            else:
                self._held[key] = held

    def catch_up(self) -> None:
        """Wait until what the database was seen to have is in the snapshots, too."""
        if self._follows:
            self.load_all()
        else:
            with self._publishing:
                pass

    def empty(self, row: SetRow) -> Held:
        """A set in which nothing is in force."""
        base = self.base_of(row)
        if base is not None:
            in_force = self._built(base, [], base.pack.blocks, None)
            layers, exact = base.pack.layers, base.pack.training.exact
        else:
            config = self._config
            layers, exact = config.resolve_layers(self._backbone.n_layers), config.exact
            blocks = torch.zeros(0, len(layers), self._backbone.width)
            bank = Bank.of([], blocks, form=config.form, scale=[1.0] * len(layers))
            in_force = InForce({}, bank, None, Scope([], config=preset(config.scope)))
        snapshot = Snapshot(row.name, row.version, in_force, layers, exact)
        return Held(row.id, snapshot, {}, base)

    def base_of(self, row: SetRow) -> Base | None:
        """The base of a set; PackMismatch if it was made for another model."""
        if row.base is None:
            return None
        pack = Pack.load(self._parts.base(row.id, row.base))
        try:
            pack.check(self._backbone.fingerprint)
        except PackMismatch as error:
            raise PackMismatch(f'set "{row.name}": {error}') from None
        return Base.of(row.base, pack, self.embedders)

    def _built(
        self, base: Base, edits: Iterable[Edit], blocks: Tensor, exemplars: Exemplars | None
    ) -> InForce:
        gate = base.pack.gate
        if gate is not None and exemplars is not None:
            gate = replace(gate, exemplars=exemplars)
        pack = replace(base.pack, edits=EditSet(edits), blocks=blocks, gate=gate)
        return pack.in_force_with(base.embedder, self._backbone.device)
