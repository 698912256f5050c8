"""New facts: what of them is a change, what stands against them, and how they are written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from lks.blocks.in_force import InForce
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.edits.text import counted, encodable
from lks.errors import Conflict, EditFileError, InputError
from lks.scope.inspect.silent import check_edits_fire, silent_edits
from lks.scope.scope import Scope
from lks.scope.types import ids
from lks.serving.facts import LONGEST_ID, State
from lks.serving.service import Terms
from lks.serving.store import changes, queries
from lks.serving.store.schema import JobRow, RevisionRow, SetRow

NAMED = 5  # conflicts that a message names


def checked_edits(edits: Sequence[Edit]) -> EditSet:
    """The edits without those that say the same twice.

    Raises:
        EditFileError: two have one id, or give one prompt two targets, or there is something that
            cannot be stored.
    """
    told = [f'edit "{encodable(edit.id):.40}": {odd}' for edit in edits if (odd := _odd(edit))]
    if told:
        raise EditFileError(f"{counted(len(told), 'edit')} cannot be stored", told)
    new = EditSet(edits)
    told = [str(pair) for pair in new.conflicts.pairs if not pair.repeated]
    if told:
        raise EditFileError("edits give one prompt two targets; give each prompt once", told)
    return new


def _odd(edit: Edit) -> str | None:
    """Why an edit cannot be kept as JSON in a database, or asked for by an address."""
    if len(edit.id) > LONGEST_ID or edit.id in (".", ".."):
        return f"give an id of at most {LONGEST_ID} characters that is not only dots"
    try:
        text = json.dumps(edit.to_record(), ensure_ascii=False, allow_nan=False)
    except ValueError:
        return "has NaN or an infinite number, which JSON has not; take it out"
    if text != encodable(text) or "\\u0000" in text:
        return "has U+0000 or half of a surrogate pair, which no text can have; take it out"
    return None


def checked_terms(terms: Terms, now: datetime) -> Terms:
    """The terms with each tag once; InputError for times that cannot be, and tags that are none."""
    own = {fact: checked_terms(other, now) for fact, other in terms.own.items()}
    _check_terms(terms, now)
    return replace(terms, tags=tuple(dict.fromkeys(tag.strip() for tag in terms.tags)), own=own)


def _check_terms(terms: Terms, now: datetime) -> None:
    for name in ("valid_from", "valid_until"):
        moment: datetime | None = getattr(terms, name)
        if moment is not None and moment.utcoffset() is None:
            raise InputError(f"{name} {moment.isoformat()}: without a time zone; add one, or a Z")
        if moment is not None and not _has_utc(moment):
            raise InputError(f"{name} {moment.isoformat()}: no year from 1 to 9999 has it in UTC")
    start, end = terms.valid_from, terms.valid_until
    if end is not None and end <= now:
        raise InputError(f"valid_until {end.isoformat()}: is past already; give a later time")
    if start is not None and end is not None and end <= start:
        raise InputError(
            f"valid_until {end.isoformat()}: is not after valid_from {start.isoformat()}"
        )
    for tag in terms.tags:
        if not tag.strip() or not tag.isprintable():
            raise InputError(f'tag "{tag[:40]}": give one line of printable characters')


def _has_utc(moment: datetime) -> bool:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return False
    return True


def check_fire(new: EditSet, now: InForce) -> None:
    """EditFileError for edits that could never fire beside those in force, all at once."""
    check_edits_fire(new, _names_beside(new, now))


def silent_beside(new: EditSet, now: InForce) -> dict[str, str]:
    """The edits that would not fire on their own prompts beside those in force, and why."""
    return silent_edits(new, _names_beside(new, now))


def _names_beside(new: EditSet, now: InForce) -> Scope:
    """A scope in which new edits fire, or not, as beside those in force.

    Only edits whose names stand in the new prompts can take them away, so an index of these will
    do: one of all names takes seconds where there are many.
    """
    found = now.scope.with_gate(None).fired([edit.prompt for edit in new])
    near = {edit_id for own in found for edit_id in ids(own)} - {edit.id for edit in new}
    return now.scope.of_edits([*(now.edits[edit_id] for edit_id in sorted(near)), *new])


def content_of(*parts: object) -> str:
    """A hash of what a change was given."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def content_of_edits(edits: Sequence[Edit], terms: Terms) -> str:
    return content_of("add", [edit.to_record() for edit in edits], asdict(terms))


@dataclass(frozen=True)
class Plan:
    """What new facts come to.

    Attributes:
        new: those that are not there just as they are.
        pending: revisions that are on their way, and will not come: a new one takes their place.
        replaces: whether each of `new`, by id, has an earlier revision in force.
    """

    new: Sequence[Edit]
    pending: Sequence[RevisionRow]
    replaces: Mapping[str, bool]


def planned(session: Session, own: SetRow, edits: Sequence[Edit], terms: Terms) -> Plan:
    """Compare new facts with those in force and on their way.

    Raises:
        Conflict: one has the id, or the question, of another, and is not to take its place.
    """
    questions = {queries.question_of(edit): edit for edit in edits}
    found = queries.standing(session, own.id, [edit.id for edit in edits], questions)
    by_id: dict[str, list[RevisionRow]] = {}
    others: dict[str, list[RevisionRow]] = {}
    for row in found:
        by_id.setdefault(row.fact_id, []).append(row)
        asked = questions.get(row.question)
        if asked is not None and asked.id != row.fact_id:
            others.setdefault(asked.id, []).append(row)
    new, against, pending = [], [], dict[int, RevisionRow]()
    replaces = {}
    for edit in edits:
        record = stored_record(edit)
        same_id = by_id.get(edit.id, [])
        if any(_stays(row, record, terms.of(edit.id)) for row in same_id):
            continue
        other = [row for row in same_id if row.record != record] + others.get(edit.id, [])
        against += [_told(edit, row) for row in other[:1]]
        new.append(edit)
        replaces[edit.id] = any(row.state == State.IN_FORCE for row in same_id)
        late = [row for row in (*same_id, *others.get(edit.id, ())) if row.state != State.IN_FORCE]
        pending |= {row.id: row for row in late}
    if against and not terms.replace:
        more = f" and {len(against) - NAMED} more" if len(against) > NAMED else ""
        told = "; ".join(against[:NAMED])
        raise Conflict(f"{told}{more}; say that it is to be replaced, or leave it out")
    return Plan(new, [*pending.values()], replaces)


def _stays(row: RevisionRow, record: Mapping[str, object], terms: Terms) -> bool:
    """Whether a revision in force is just what was given."""
    wanted = ((terms.valid_from, row.valid_from), (terms.valid_until, row.valid_until))
    same_terms = all(given in (None, own) for given, own in wanted)
    same_tags = not terms.tags or terms.tags == row.tags
    return row.state == State.IN_FORCE and row.record == record and same_terms and same_tags


def _told(edit: Edit, row: RevisionRow) -> str:
    where = "is in force" if row.state == State.IN_FORCE else f"is on its way ({row.state})"
    target = str(row.record["target"]).strip()
    if row.fact_id == edit.id:
        return f'fact "{edit.id}" {where} with other content ("{target}")'
    return f'fact "{row.fact_id}" {where} with the prompt of "{edit.id}" ("{target}")'


def stored_record(edit: Edit) -> dict[str, object]:
    """The edit's record as JSON gives it back."""
    record: dict[str, object] = json.loads(json.dumps(edit.to_record()))
    return record


def write_revisions(
    session: Session,
    own: SetRow,
    edits: Sequence[Edit],
    job: JobRow,
    state: State,
    terms: Terms,
) -> list[RevisionRow]:
    """New revisions of facts. One that says what an earlier one said has that one's block."""
    facts, at = [edit.id for edit in edits], changes.now()
    latest = queries.newest(session, own.id, facts)
    known = queries.with_blocks(session, own.id, facts)
    rows = []
    for row in latest.values():
        row.newest = False
    for edit in edits:
        record, block = stored_record(edit), known.get(edit.id)
        same = block is not None and block.record == record
        last = latest.get(edit.id)
        rows.append(
            RevisionRow(
                set_id=own.id,
                fact_id=edit.id,
                revision=last.revision + 1 if last else 1,
                record=record,
                question=queries.question_of(edit),
                words="\n".join((edit.id, edit.subject, edit.prompt, edit.target)).casefold(),
                newest=True,
                state=state.value,
                valid_from=terms.of(edit.id).valid_from,
                valid_until=terms.of(edit.id).valid_until,
                tags=terms.of(edit.id).tags,
                by=job.by,
                reason=terms.reason,
                at=at,
                job_id=job.id,
                part=block.part if block and same else None,
                block=block.block if block and same else None,
            )
        )
    session.add_all(rows)
    session.flush()
    return rows
