"""The store's words as JSON."""

from __future__ import annotations

from datetime import datetime

from lks.serving.facts import Change, Fact, FactSet, Job


def time_json(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def set_json(own: FactSet) -> dict[str, object]:
    return {
        "name": own.name,
        "version": own.version,
        "approval": own.approval,
        "facts": own.facts,
        "created": time_json(own.created),
    }


def fact_json(fact: Fact, hits: int) -> dict[str, object]:
    """All keys of the record, and what the server knows of the fact."""
    return {
        **fact.edit.to_record(),
        "id": fact.id,
        "revision": fact.revision,
        "state": str(fact.state),
        "why": fact.why,
        "shaky": None if fact.shaky is None else list(fact.shaky),
        "valid_from": time_json(fact.valid_from),
        "valid_until": time_json(fact.valid_until),
        "tags": list(fact.tags),
        "by": fact.by,
        "reason": fact.reason,
        "at": time_json(fact.at),
        "since": fact.since,
        "until": fact.until,
        "hits": hits,
    }


def job_json(job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "set": job.set_name,
        "state": str(job.state),
        "facts": list(job.facts),
        "failed": dict(job.failed),
        "version": job.version,
        "created": time_json(job.created),
        "finished": time_json(job.finished),
    }


def change_json(change: Change) -> dict[str, object]:
    return {
        "version": change.version,
        "at": time_json(change.at),
        "by": change.by,
        "action": change.action,
        "facts": list(change.facts),
        "reason": change.reason,
    }
