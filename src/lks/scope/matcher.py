"""The exact matcher: which edited entities a text names, and where.

One pass of an Aho-Corasick automaton (package ahocorasick-rs) over the normalised text finds
every name at once, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ahocorasick_rs import AhoCorasick

from lks.edits import Edit
from lks.scope.normalise import normalise, spaceless


@dataclass(frozen=True)
class Mention:
    """A place where a text names an edited entity.

    `start` and `end` are characters of the original text, `surface` is what stands there.
    `edit_ids` are the edits of that entity, in the order of the edit set. `gate` is the score of
    the relation gate, None where the scope has none.
    """

    edit_ids: tuple[str, ...]
    subject: str
    surface: str
    start: int
    end: int
    kind: str  # exact | alias
    score: float = 1.0
    gate: float | None = None
    fired: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"edit_ids": list(self.edit_ids)}


@dataclass
class _Name:
    """One normalised name and the edits that bear it."""

    subject: str
    edit_ids: list[str]
    kind: str
    cased: set[str] | None  # spellings that count, None when any case does


class Matcher:
    """Finds mentions of the subjects and aliases of `edits`.

    Matching is on word boundaries and Unicode-normalised. Names of two or more words match in
    any case, names of one word only as they are written. Where mentions overlap, the longest
    wins; of two equally long the first.
    """

    def __init__(self, edits: Iterable[Edit]) -> None:
        names: dict[str, _Name] = {}
        for edit in edits:
            for kind, spelling in zip(
                ("exact", *["alias"] * len(edit.aliases)), edit.names, strict=True
            ):
                _add_name(names, edit, spelling, kind)
        self._patterns = list(names)
        self._names = list(names.values())
        self._automaton = AhoCorasick(self._patterns) if names else None

    def __call__(self, text: str) -> list[Mention]:
        """The mentions in `text`, in the order in which they stand there."""
        if self._automaton is None:
            return []
        folded = normalise(text)
        found = self._automaton.find_matches_as_indexes(folded.text, overlapping=True)
        found.sort(key=lambda hit: (hit[1] - hit[2], hit[1]))  # longest first, then leftmost
        taken = bytearray(len(folded.text))
        mentions = []
        for index, start, end in found:
            if any(taken[start:end]) or not _on_boundaries(folded.text, start, end):
                continue
            name = self._names[index]
            first, last = folded.span(start, end)
            surface = text[first:last]
            if name.cased and normalise(surface, fold_case=False).text not in name.cased:
                continue
            taken[start:end] = b"\x01" * (end - start)
            mentions.append(
                Mention(tuple(name.edit_ids), name.subject, surface, first, last, name.kind)
            )
        return sorted(mentions, key=lambda mention: mention.start)


def _add_name(names: dict[str, _Name], edit: Edit, spelling: str, kind: str) -> None:
    cased = normalise(spelling, fold_case=False).text.strip()
    pattern = normalise(cased).text
    if not pattern:
        return
    known = names.setdefault(pattern, _Name(edit.subject, [], kind, None))
    if edit.id not in known.edit_ids:
        known.edit_ids.append(edit.id)
    if kind == "exact":  # a subject goes before somebody else's alias
        known.kind, known.subject = kind, edit.subject
    if " " not in pattern:
        known.cased = (known.cased or set()) | {cased}


def _on_boundaries(text: str, start: int, end: int) -> bool:
    """Whether no word runs over the edges of text[start:end]."""

    def cut(outside: str, inside: str) -> bool:
        return (
            _in_word(outside) and _in_word(inside) and not (spaceless(outside) or spaceless(inside))
        )

    before = start > 0 and cut(text[start - 1], text[start])
    after = end < len(text) and cut(text[end], text[end - 1])
    return not (before or after)


def _in_word(char: str) -> bool:
    return char.isalnum() or char == "_"
