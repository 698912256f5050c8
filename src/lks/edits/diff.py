"""What differs between two sets of facts: added, changed, removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lks.edits.edit import Edit
from lks.edits.export import markdown_row, markdown_table
from lks.edits.text import counted


@dataclass(frozen=True)
class Changed:
    """A fact that is another one than before; `keys` of its record differ."""

    before: Edit
    after: Edit
    keys: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.after.id

    def values(self, key: str) -> tuple[object, object]:
        """What stood under a key, and what stands there; None for nothing."""
        return self.before.to_record().get(key), self.after.to_record().get(key)


@dataclass(frozen=True)
class Diff:
    """The facts that only one of two sets has, and those that differ. False if there are none."""

    added: tuple[Edit, ...] = ()
    changed: tuple[Changed, ...] = ()
    removed: tuple[Edit, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        counts = ((self.added, "added"), (self.changed, "changed"), (self.removed, "retired"))
        return ", ".join(f"{counted(len(own), 'fact')} {what}" for own, what in counts)

    def to_json(self) -> dict[str, object]:
        return {
            "added": [edit.to_record() for edit in self.added],
            "removed": [edit.to_record() for edit in self.removed],
            "changed": [
                {
                    "id": one.id,
                    "keys": list(one.keys),
                    "before": one.before.to_record(),
                    "after": one.after.to_record(),
                }
                for one in self.changed
            ],
        }

    def to_markdown(self) -> str:
        """A heading, and a table with a row for each fact."""
        rows = [markdown_row("added", e.subject, e.prompt, "", e.target, "") for e in self.added]
        for one in self.changed:
            old, new, other = one.before, one.after, [key for key in one.keys if key != "target"]
            was = old.target if old.target != new.target else ""
            named = ", ".join(other)
            rows.append(markdown_row("changed", new.subject, new.prompt, was, new.target, named))
        rows += [
            markdown_row("retired", e.subject, e.prompt, e.target, "", "") for e in self.removed
        ]
        head = ("", "subject", "question", "answer before", "answer", "also changed")
        title = f"**{self}**\n"
        return f"{title}\n{markdown_table(head, rows)}" if rows else title


def diff(before: Iterable[Edit], after: Iterable[Edit]) -> Diff:
    """What `after` has that `before` has not, and the other way round.

    Facts belong together by their id, else by their question, the subject and the prompt. An id
    that was made from the content is no name: where one side has only that, ids do not count.
    """
    new = list(after)
    by_id = {edit.id: edit for edit in new}
    pairs = [(old, by_id.pop(old.id, None)) for old in before]
    by_question = {edit.question: edit for edit in by_id.values()}
    matched = [(old, own or by_question.pop(old.question, None)) for old, own in pairs]
    known = {own.id for _, own in matched if own}
    changed = [(old, own, _keys(old, own)) for old, own in matched if own]
    return Diff(
        added=tuple(edit for edit in new if edit.id not in known),
        changed=tuple(Changed(old, own, keys) for old, own, keys in changed if keys),
        removed=tuple(old for old, own in matched if own is None),
    )


def _keys(old: Edit, new: Edit) -> tuple[str, ...]:
    """The keys of two records whose values differ."""
    was, now = old.to_record(), new.to_record()
    made = any(edit.id == edit.key for edit in (old, new))
    keys = dict.fromkeys((*was, *now))
    return tuple(k for k in keys if was.get(k) != now.get(k) and not (k == "id" and made))
