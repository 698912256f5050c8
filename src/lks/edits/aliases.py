"""A file of entities and their other names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lks.edits import tables
from lks.edits.edit import Edit
from lks.edits.jsonl import bad_lines, parsed
from lks.edits.text import same_text
from lks.errors import EditFileError

_ID = ("id", "entity", "entity_id", "qid", "item", "wikidata")
_LABEL = ("label", "itemLabel", "labels")
_ALIASES = ("aliases", "itemAltLabel", "altLabels")


@dataclass(frozen=True)
class AliasEntry:
    """One row of an alias dictionary."""

    id: str
    label: str
    aliases: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.label, *self.aliases)


class AliasDictionary:
    """Names of entities, to be looked up by an edit.

    An edit belongs to an entity by the id in its record (key `entity` or `qid`, say), else by its
    subject where that is the label of just one entity, else where it is an alias of just one.
    """

    def __init__(self, entities: Iterable[AliasEntry]) -> None:
        self._by_id: dict[str, AliasEntry] = {}
        self._by_label: defaultdict[str, dict[str, AliasEntry]] = defaultdict(dict)
        self._by_alias: defaultdict[str, dict[str, AliasEntry]] = defaultdict(dict)
        for entity in entities:
            earlier = self._by_id.get(entity.id)
            if earlier:  # exports write an entity once for each alias
                entity = AliasEntry(entity.id, earlier.label, (*earlier.aliases, *entity.names))
            self._by_id[entity.id] = entity
            self._by_label[same_text(entity.label)][entity.id] = entity
            for alias in entity.aliases:
                self._by_alias[same_text(alias)][entity.id] = entity

    def __len__(self) -> int:
        return len(self._by_id)

    def names(self, edit: Edit) -> tuple[str, ...]:
        """All names of the edit's entity, none if the dictionary does not know it for certain."""
        for key in _ID:
            entity = self._by_id.get(_entity_id(edit.extra.get(key)))
            if entity:
                return entity.names
        for table in (self._by_label, self._by_alias):
            found = table.get(same_text(edit.subject), {})
            if found:
                return next(iter(found.values())).names if len(found) == 1 else ()
        return ()

    @classmethod
    def load(cls, path: str | Path) -> AliasDictionary:
        """Read JSONL (records with id, label, aliases; or Wikidata's own entity records, whose
        labels and aliases go by language) or CSV (columns id, label, aliases; or item, itemLabel,
        itemAltLabel as the query service writes them; aliases parted by `|` or `, `).

        Raises:
            EditFileError: the file is missing, not text or empty, or has bad lines; then
                `problems` has one entry for each.
        """
        path = Path(path)
        entities: list[AliasEntry] = []
        problems: list[str] = []
        for number, row in _rows(path, problems):
            entity = _entity(row)
            if entity is None:
                problems.append(f"line {number}: needs an id and a label")
            else:
                entities.append(entity)
        if problems:
            raise EditFileError(
                f"{path}: {bad_lines(problems)} of aliases; mend the file and try again", problems
            )
        if not any(entity.aliases for entity in entities):
            raise EditFileError(f"{path}: no aliases in it; write id, label and aliases a line")
        return cls(entities)


def _rows(path: Path, problems: list[str]) -> Iterator[tuple[int, object]]:
    """(line number, record) of a dictionary file; what cannot be read goes into `problems`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise EditFileError(f"{path}: cannot be read ({why}); give JSONL or CSV") from None
    if path.suffix.lower() == ".csv":
        yield from _csv_rows(text, path, problems)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        # A dump of Wikidata is one large array, an entity a line.
        line = line.strip().rstrip(",")
        if line in ("", "[", "]"):
            continue
        try:
            yield number, parsed(line)
        except EditFileError as error:
            problems.append(f"line {number}: {error}")


def _csv_rows(text: str, path: Path, problems: list[str]) -> Iterator[tuple[int, object]]:
    columns = tables.columns(text)
    wanted = (("an id", _ID), ("a label", _LABEL), ("aliases", _ALIASES))
    if lacking := [what for what, known in wanted if not set(known) & set(columns)]:
        raise EditFileError(
            f"{path}: no column for {', nor for '.join(lacking)} among {', '.join(columns)}; "
            "the first line names the columns: id,label,aliases"
        )
    yield from tables.rows(text, problems)


def _entity(row: object) -> AliasEntry | None:
    if not isinstance(row, dict):
        return None
    key = next((_entity_id(row[key]) for key in _ID if row.get(key)), "")
    labels = _texts(next((row[name] for name in _LABEL if row.get(name)), None), parted=False)
    aliases = _texts(next((row[name] for name in _ALIASES if row.get(name)), None), parted=True)
    return AliasEntry(key, labels[0], (*labels[1:], *aliases)) if key and labels else None


def _texts(value: object, *, parted: bool) -> list[str]:
    """The strings of a cell: a text, a list, or Wikidata's map from language to either."""
    if isinstance(value, dict):
        own = [value["value"]] if isinstance(value.get("value"), str) else None
        value = own if own else [value[key] for key in sorted(value, key=lambda k: (k != "en", k))]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part, parted=False)]
    if not isinstance(value, str):
        return []
    parts = value.split("|" if "|" in value else ", ") if parted else [value]
    return [part.strip() for part in parts if part.strip()]


def _entity_id(value: object) -> str:
    """Q60 of "Q60" and of an address that ends in it; a number as it is."""
    whole = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value).rstrip("/").rsplit("/", 1)[-1] if whole else ""
