"""The records of a file of edits, of whatever kind, and the keys that they may have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from lks.edits import tables
from lks.edits.jsonl import json_records, numbered_lines, parsed, parsed_lines, text_of
from lks.edits.layouts import layout_of
from lks.errors import EditFileError

_REQUIRED = ("subject", "prompt", "target")
KEYS = frozenset(
    (
        *(*_REQUIRED, "id", "aliases", "paraphrases", "generality", "locality", "portability"),
        *("negative", "tests", "threshold", "exact", "statement", "profile_of"),
        *("ground_truth", "source", "note"),
    )
)
_PROBE_KEYS = frozenset({"prompt", "target", "held_out"})
_TEST_ORDER = ("prompt", "must_contain", "must_not_contain")
_TEST_KEYS = frozenset(_TEST_ORDER)
_Probe = tuple[str, str | None, bool]  # prompt, target, held out
_Test = tuple[str, tuple[str, ...], tuple[str, ...]]  # prompt, must and must not contain
_SYNONYMS = {  # other words for known keys, where the record lacks these
    "entity": "subject",
    "entity_name": "subject",
    "name": "subject",
    "question": "prompt",
    "query": "prompt",
    "input": "prompt",
    "instruction": "prompt",
    "answer": "target",
    "output": "target",
    "completion": "target",
    "response": "target",
    "new_answer": "target",
    "expected_answer": "target",
    "new_target": "target",
    "target_new": "target",
    "rephrase": "paraphrases",
    "rephrases": "paraphrases",
    "wordings": "paraphrases",
    "other_wordings": "paraphrases",
    "synonyms": "aliases",
    "other_names": "aliases",
    "also_known_as": "aliases",
    "held_out_paraphrases": "generality",
    "other_questions": "locality",
}
_CLOSE = 0.83  # likeness from which a key is a known one, misspelt


def misnamed(keys: Iterable[str], known: frozenset[str] = KEYS) -> dict[str, str]:
    """Keys that are none, and the known key that each seems to be meant for."""
    keys = list(keys)
    found = {}
    for key in keys:
        meant = None if key in known else _meant(key, known)
        if meant is not None and not (_folded(key) in _SYNONYMS and meant in keys):
            found[key] = meant
    return found


@lru_cache(maxsize=1024)  # the same few keys stand in every record
def _meant(key: str, known: frozenset[str]) -> str | None:
    folded = _folded(key)
    if _SYNONYMS.get(folded) in known:
        return _SYNONYMS[folded]
    near = get_close_matches(folded, known, n=1, cutoff=_CLOSE)
    # `subject_id` is a key of its own, no misspelt `subject`
    return near[0] if near and folded.count("_") <= near[0].count("_") else None


def _folded(key: str) -> str:
    return "_".join(key.replace("-", " ").casefold().split())


def _did_you_mean(key: str, meant: str) -> str:
    return f'"{key}" is no known key; did you mean "{meant}"?'


class Reader:
    """Takes typed fields out of a record and collects what is wrong with them."""

    def __init__(self, record: Mapping[str, object], known: frozenset[str], any_keys: bool) -> None:
        self.record, self.any_keys = record, any_keys
        self.meant = {} if any_keys else misnamed(map(str, record), known)
        self.problems = [_did_you_mean(*pair) for pair in self.meant.items()]

    def text(self, name: str, *, required: bool = False) -> str | None:
        value = self.record.get(name)
        if value is None:
            if required and name not in self.meant.values():
                self.problems.append(f'"{name}" is missing')
        elif not isinstance(value, str):
            self.problems.append(f'"{name}" must be a string, not {kind_of(value)}')
        elif not value.strip():
            self.problems.append(f'"{name}" is empty')
        else:
            return value
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.record.get(name)
        value = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
            self.problems.append(f'"{name}" must be a list of non-empty strings')
            return ()
        return tuple(value)

    def share(self, name: str) -> float | None:
        value = self.record.get(name)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return value
        self.problems.append(f'"{name}" must be a number between 0 and 1, not {value!r:.40}')
        return None

    def flag(self, name: str) -> bool | None:
        value = self.record.get(name)
        if value is None or isinstance(value, bool):
            return value
        self.problems.append(f'"{name}" must be true or false, not {value!r:.40}')
        return None

    def probes(self, name: str, *, target_required: bool = False) -> list[_Probe]:
        value = self.record.get(name)
        # A single object is the form of benchmark rows: for scoring only.
        single = isinstance(value, dict)
        probes: list[_Probe] = []
        for inner in self._objects(name, _PROBE_KEYS, texts=not target_required):
            prompt = inner.text("prompt", required=True)
            target = inner.text("target", required=target_required)
            held_out = inner.record.get("held_out", single)
            if not isinstance(held_out, bool):
                inner.problems.append('"held_out" must be true or false')
            self.problems += [f"{name}: {problem}" for problem in inner.problems]
            if prompt is not None and isinstance(held_out, bool) and not inner.problems:
                probes.append((prompt, target, held_out))
        return probes

    def tests(self, name: str) -> list[_Test]:
        tests: list[_Test] = []
        for inner in self._objects(name, _TEST_KEYS):
            prompt = inner.text("prompt", required=True)
            wanted, unwanted = inner.texts("must_contain"), inner.texts("must_not_contain")
            if unknown := sorted(set(map(str, inner.record)) - _TEST_KEYS - inner.meant.keys()):
                named = ", ".join(f'"{key}"' for key in unknown)
                inner.problems.append(f"has {named}; its keys are {', '.join(_TEST_ORDER)}")
            if not (wanted or unwanted or inner.problems):
                inner.problems.append('needs "must_contain" or "must_not_contain"')
            inner.problems += [
                f'"{text}" must be contained, and must not be; no answer can do both'
                for text in dict.fromkeys(wanted)
                if text in unwanted
            ]
            self.problems += [f"{name}: {problem}" for problem in inner.problems]
            if prompt is not None and not inner.problems:
                tests.append((prompt, wanted, unwanted))
        return tests

    def _objects(
        self, name: str, known: frozenset[str], *, texts: bool = False
    ) -> Iterator[Reader]:
        """A reader of each object in a list, or of a single one; texts stand for their prompt."""
        value = self.record.get(name)
        rows = [] if value is None else [value] if isinstance(value, dict) else value
        if not isinstance(rows, list):
            self.problems.append(f'"{name}" must be a list of objects, not {kind_of(value)}')
            return
        for row in rows:
            if isinstance(row, str) and texts:
                row = {"prompt": row}
            if isinstance(row, dict):
                yield Reader(row, known, self.any_keys)
            else:
                self.problems.append(f'"{name}" must hold objects, not {kind_of(row)}')


def kind_of(value: object) -> str:
    return {dict: "an object", list: "a list", bool: "true/false", type(None): "null"}.get(
        type(value), "a string" if isinstance(value, str) else "a number"
    )


def records(path: Path, problems: list[str]) -> Iterator[tuple[int, object]]:
    """(line number, record) of a file of whatever kind; what is no record goes into `problems`.

    Raises:
        EditFileError: the file as a whole cannot be read, or is of no kind that is known.
    """
    return records_in(text_of(path), path, problems)


def records_in(text: str, path: Path, problems: list[str]) -> Iterator[tuple[int, object]]:
    """The same of a text, which messages call `path`."""
    lines = numbered_lines(text)
    if not lines or lines[0][1].startswith(("{", "[")):
        yield from json_records(path, text, problems)
    elif (columns := _columns(path, text)) is not None:
        yield from _table_records(text, columns, problems)
    elif any(line.startswith("{") for _, line in lines):
        yield from parsed_lines(lines, problems)
    else:
        raise EditFileError(
            f'{path}: neither JSON nor a table, its first line is "{lines[0][1][:40]}"; give JSON, '
            "one record a line, or CSV whose first line names the columns subject, prompt, target"
        )


def _columns(path: Path, text: str) -> dict[str, str] | None:
    """The columns that the first line names, and the key that each is; None if it names none.

    A spreadsheet may write a key in another case, or call it by another name, such as "question"
    for "prompt". A misspelt one is told, for it may as well be a key of its own.

    Raises:
        EditFileError: it does name columns, but they are not those of edits.
    """
    names = tables.columns(text)
    keys = {name: _folded(name) if _folded(name) in KEYS else name for name in names}
    meant = misnamed(keys.values())
    if not (KEYS.intersection(keys.values()) or meant):
        return None
    problems = [
        f"line 1: {_did_you_mean(*pair)}"
        for pair in meant.items()
        if _folded(pair[0]) not in _SYNONYMS
    ]
    keys = {name: meant.get(key, key) for name, key in keys.items()}
    if not set(_REQUIRED) <= set(keys.values()) and layout_of(names):
        return {name: name for name in names}
    problems += [f'line 1: no column "{name}"' for name in _REQUIRED if name not in keys.values()]
    by_key: dict[str, list[str]] = {}
    for name in names:
        by_key.setdefault(keys[name], []).append(name)
    problems += [
        f'line 1: two columns "{key}"' + "".join(f', "{n}" is one too' for n in own if n != key)
        for key, own in by_key.items()
        if len(own) > 1
    ]
    if problems:
        raise EditFileError(f"{path}: the columns are not those of edits; rename them", problems)
    return keys


def _table_records(
    text: str, columns: Mapping[str, str], problems: list[str]
) -> Iterator[tuple[int, object]]:
    for number, row in tables.rows(text, problems):
        cells = {columns[name]: cell for name, cell in row.items()}
        try:
            yield number, tables.record(cells, parsed)
        except EditFileError as error:
            problems += [f"line {number}: {problem}" for problem in error.problems]
