"""Further names of entities: from a dictionary file, or derived from a person's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from lks.edits.aliases import AliasDictionary
from lks.edits.edit import Edit
from lks.edits.text import same_text
from lks.scope.languages.en import CommonWords
from lks.scope.normalizer import normalise


def more_names(
    edits: Iterable[Edit], common: CommonWords, aliases: AliasDictionary | None, derived: bool
) -> Callable[[Edit], tuple[str, ...]]:
    """What gives the names of an edit that its record does not hold."""
    short = derived_aliases(edits, common) if derived else {}

    def names(edit: Edit) -> tuple[str, ...]:
        known = aliases.names(edit) if aliases else ()
        return (*known, *short.get(edit.subject, ()))

    return names


def with_aliases(
    edits: Sequence[Edit], aliases: AliasDictionary | None = None, *, derived: bool = False
) -> list[Edit]:
    """The edits with the names that a dictionary knows, and those that can be derived."""
    names = more_names(edits, CommonWords(), aliases, derived)
    return [
        replace(edit, aliases=tuple(dict.fromkeys([*edit.aliases, *_others(edit, names(edit))])))
        for edit in edits
    ]


def _others(edit: Edit, names: Iterable[str]) -> list[str]:
    return [name for name in names if same_text(name) != same_text(edit.subject)]


def derived_aliases(edits: Iterable[Edit], common: CommonWords) -> dict[str, tuple[str, ...]]:
    """Subject -> names that persons of two to four names go by: A. Einstein, Einstein.

    Only where no other name of the edits has that surname or those initials, and where the
    surname is no common word.
    """
    words = {name: tuple(normalise(name).words) for edit in edits for name in edit.names}
    bearers = Counter(word for name in set(words.values()) for word in set(name))
    derived: dict[str, tuple[str, ...]] = {}
    for subject in dict.fromkeys(edit.subject for edit in edits):
        parts = subject.split()
        surname = words[subject][-1] if words[subject] else ""
        person = 2 <= len(parts) <= 4 and all(p[0].isupper() and p.isalpha() for p in parts)
        if not person or surname in common or len(surname) < 4 or bearers[surname] > 1:
            continue
        initials = " ".join(f"{part[0]}." for part in parts[:-1])
        derived[subject] = (parts[-1], f"{initials} {parts[-1]}")
    return derived
