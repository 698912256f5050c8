"""Sets of facts in memory: what a store does, as far as who asks can see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import RLock

import torch

from lks.blocks.bank import Bank
from lks.blocks.in_force import InForce
from lks.edits.edit import Edit
from lks.errors import Conflict, Forbidden, NotFound, VersionMismatch
from lks.scope.scope import Scope
from lks.serving.facts import Caller, Change, Fact, FactSet, Job, JobState, Page, Role, State
from lks.serving.service import Snapshot, Terms

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
WIDTH = 32


def in_force_of(edits: Sequence[Edit]) -> InForce:
    bank = Bank.of(
        [e.id for e in edits], torch.zeros(len(edits), 1, WIDTH), form="replace", scale=[1.0]
    )
    return InForce.of(Scope(edits), edits, bank, None, None)


@dataclass
class _Set:
    name: str
    approval: bool = False
    versions: list[tuple[Edit, ...]] = field(default_factory=lambda: [()])
    facts: dict[str, list[Fact]] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    history: list[Change] = field(default_factory=list)
    once: dict[str, tuple[object, object]] = field(default_factory=dict)

    @property
    def version(self) -> int:
        return len(self.versions) - 1


class FakeService:
    """`keys` are callers by API key; without keys everybody is the local admin."""

    def __init__(self, **keys: Caller) -> None:
        self.keys = keys
        self._lock = RLock()
        self._sets: dict[tuple[str, str], _Set] = {}
        self._snapshots: dict[tuple[str, str, int], Snapshot] = {}

    @property
    def open(self) -> bool:
        return not self.keys

    def caller(self, key: str | None) -> Caller | None:
        if not self.keys:
            return Caller("local", Role.ADMIN, "local")
        return self.keys.get(key or "")

    def _set(self, who: Caller, name: str, role: Role = Role.ASK) -> _Set:
        if not who.role.allows(role):
            raise Forbidden(f"the role {who.role} does not allow it")
        try:
            return self._sets[who.tenant, name]
        except KeyError:
            raise NotFound(f'there is no set "{name}"') from None

    def snapshot(self, who: Caller, set_name: str) -> Snapshot:
        with self._lock:
            own = self._set(who, set_name)
            key = (who.tenant, set_name, own.version)
            if key not in self._snapshots:
                now = in_force_of(own.versions[-1])
                self._snapshots[key] = Snapshot(set_name, own.version, now, [1], True)
            return self._snapshots[key]

    def sets(self, who: Caller) -> list[FactSet]:
        return [self._told(s) for (tenant, _), s in self._sets.items() if tenant == who.tenant]

    def _told(self, own: _Set) -> FactSet:
        return FactSet(own.name, own.version, own.approval, len(own.versions[-1]), NOW)

    def create_set(self, who: Caller, name: str, *, approval: bool = False) -> FactSet:
        with self._lock:
            if (who.tenant, name) in self._sets:
                raise Conflict(f'there is a set "{name}"')
            self._sets[who.tenant, name] = _Set(name, approval)
            return self._told(self._sets[who.tenant, name])

    def delete_set(self, who: Caller, name: str) -> None:
        self._set(who, name)
        del self._sets[who.tenant, name]

    def facts(
        self,
        who: Caller,
        set_name: str,
        *,
        search: str | None = None,
        states: Sequence[State] = (),
        tag: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page:
        own = self._set(who, set_name)
        found = [revisions[-1] for _, revisions in sorted(own.facts.items())]
        found = [f for f in found if not states or f.state in states]
        found = [f for f in found if tag is None or tag in f.tags]
        found = [f for f in found if (search or "").casefold() in f.edit.prompt.casefold()]
        rest = [f for f in found if after is None or f.id > after]
        more = rest[limit - 1].id if len(rest) > limit else None
        return Page(tuple(rest[:limit]), len(found), more)

    def fact(self, who: Caller, set_name: str, fact_id: str) -> Fact:
        return self.revisions(who, set_name, fact_id)[0]

    def revisions(self, who: Caller, set_name: str, fact_id: str) -> list[Fact]:
        own = self._set(who, set_name)
        if fact_id not in own.facts:
            raise NotFound(f'there is no fact "{fact_id}"')
        return list(reversed(own.facts[fact_id]))

    def at_version(self, who: Caller, set_name: str, version: int) -> list[Edit]:
        own = self._set(who, set_name)
        if not 0 <= version <= own.version:
            raise NotFound(f"there is no version {version}")
        return list(own.versions[version])

    def history(
        self, who: Caller, set_name: str, *, limit: int = 50, before: int | None = None
    ) -> list[Change]:
        found = list(reversed(self._set(who, set_name).history))
        return [c for c in found if before is None or c.version < before][:limit]

    def job(self, who: Caller, job_id: str) -> Job:
        for (tenant, _), own in self._sets.items():
            for job in own.jobs:
                if tenant == who.tenant and job.id == job_id:
                    return job
        raise NotFound(f'there is no job "{job_id}"')

    def jobs(self, who: Caller, set_name: str, *, limit: int = 20) -> list[Job]:
        return list(reversed(self._set(who, set_name).jobs))[:limit]

    def add(
        self,
        who: Caller,
        set_name: str,
        edits: Sequence[Edit],
        terms: Terms = Terms(),
        *,
        if_version: int | None = None,
        once: str | None = None,
    ) -> Job:
        with self._lock:
            own = self._set(who, set_name, Role.EDIT)
            content = (tuple(edits), terms)
            if (known := self._known(own, once, content)) is not None:
                assert isinstance(known, Job)
                return known
            self._check(own, if_version)
            now = {e.id: e for e in own.versions[-1]}
            for edit in edits:
                if now.get(edit.id, edit) != edit and not terms.replace:
                    raise Conflict(f'fact "{edit.id}" is in force with other content')
            state = State.PROPOSED if terms.propose or own.approval else State.IN_FORCE
            for edit in edits:
                self._revise(own, who, edit, state, terms)
            if state == State.IN_FORCE:
                own.versions.append(tuple((now | {e.id: e for e in edits}).values()))
            job = Job(
                f"{who.tenant}-{set_name}-{len(own.jobs)}",
                set_name,
                JobState.DONE if state == State.IN_FORCE else JobState.QUEUED,
                tuple(e.id for e in edits),
                {},
                own.version if state == State.IN_FORCE else None,
                NOW,
                NOW if state == State.IN_FORCE else None,
            )
            own.jobs.append(job)
            self._note(own, who, "add", [e.id for e in edits], terms.reason)
            if once:
                own.once[once] = content, job
            return job

    def _revise(self, own: _Set, who: Caller, edit: Edit, state: State, terms: Terms) -> None:
        old = own.facts.setdefault(edit.id, [])
        old.append(
            Fact(
                edit,
                len(old) + 1,
                state,
                valid_from=terms.of(edit.id).valid_from,
                valid_until=terms.of(edit.id).valid_until,
                tags=terms.of(edit.id).tags,
                by=who.name,
                reason=terms.reason,
                at=NOW,
                since=own.version + 1,
            )
        )

    def _known(self, own: _Set, once: str | None, content: object) -> object | None:
        if once is None or once not in own.once:
            return None
        before, answer = own.once[once]
        if before != content:
            raise Conflict(f'"{once}" was used for another change')
        return answer

    def _check(self, own: _Set, if_version: int | None) -> None:
        if if_version not in (None, own.version):
            raise VersionMismatch(f"{own.name} is at version {own.version}, not {if_version}")

    def _note(
        self, own: _Set, who: Caller, action: str, ids: Sequence[str], reason: str | None
    ) -> None:
        own.history.append(Change(own.version, NOW, who.name, action, tuple(ids), reason))

    def retire(
        self,
        who: Caller,
        set_name: str,
        fact_ids: Sequence[str],
        *,
        reason: str | None = None,
        if_version: int | None = None,
        once: str | None = None,
    ) -> int:
        with self._lock:
            own = self._set(who, set_name, Role.EDIT)
            content = (tuple(fact_ids), "retire")
            if (known := self._known(own, once, content)) is not None:
                assert isinstance(known, int)
                return known
            self._check(own, if_version)
            now = {e.id: e for e in own.versions[-1]}
            for fact_id in fact_ids:
                if fact_id not in now:
                    raise NotFound(f'there is no fact "{fact_id}" in force')
                own.facts[fact_id][-1] = replace(own.facts[fact_id][-1], state=State.RETIRED)
            own.versions.append(tuple(e for e in now.values() if e.id not in fact_ids))
            self._note(own, who, "retire", fact_ids, reason)
            if once:
                own.once[once] = content, own.version
            return own.version

    def approve(
        self, who: Caller, set_name: str, fact_ids: Sequence[str], *, reason: str | None = None
    ) -> Job:
        own = self._set(who, set_name, Role.APPROVE)
        edits = [self.fact(who, set_name, i).edit for i in fact_ids]
        approval, own.approval = own.approval, False
        try:
            return self.add(who, set_name, edits, Terms(reason, replace=True))
        finally:
            own.approval = approval

    def reject(
        self, who: Caller, set_name: str, fact_ids: Sequence[str], *, reason: str | None = None
    ) -> None:
        own = self._set(who, set_name, Role.APPROVE)
        for fact_id in fact_ids:
            old = self.fact(who, set_name, fact_id)
            own.facts[fact_id][-1] = replace(old, state=State.REJECTED, why=reason)

    def rollback(
        self,
        who: Caller,
        set_name: str,
        version: int,
        *,
        reason: str | None = None,
        if_version: int | None = None,
    ) -> int:
        with self._lock:
            own = self._set(who, set_name, Role.APPROVE)
            self._check(own, if_version)
            own.versions.append(tuple(self.at_version(who, set_name, version)))
            self._note(own, who, "rollback", (), reason)
            return own.version
