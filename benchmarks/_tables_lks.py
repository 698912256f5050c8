"""Tables of LKS by itself: scores by size, hard questions, other settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from _results import DATA, Row, lines, quality, read
from _table import (
    KINDS,
    NAME,
    QUESTIONS,
    TASK_NAMES,
    TASKS,
    Table,
    dec,
    of,
    percent,
    three,
)


def quality_rows() -> Iterable[Row]:
    for result in quality():
        name = result["name"]
        for style in ("plain", "chat"):
            own = result[style]
            yield {"name": name, "asked": f"{style}, {own['n']}", **own}
            name = ""
            if alone := own.get("uncontradicted"):
                yield {"name": "", "asked": f"{style}, {alone['n']} not contradicted", **alone}


def _entropy(row: Row) -> str:
    """N-gram entropy of texts about the entities, before and after, where they were written."""
    told = row.get("fluency") or {}
    return " → ".join(dec(told[when], 1) for when in ("before", "after")) if told else "–"


FORCED = (
    *((kind, of("teacher_forced", kind)) for kind in KINDS),
    ("EP", of("teacher_forced", "ep")),
)
QUALITY = (
    ("data, edits", of("name", show=str)),
    ("prompts, rows", of("asked", show=str)),
    *FORCED,
    ("written r / g / l", lambda r: three(r["free_running"], *KINDS, places=3)),
    ("text entropy", _entropy),
)


def other_settings() -> list[Row]:
    """Scope `entity` and the paper's preset; a hundred edits."""
    ways = {"entity-linear": "every mention fires", "paper": "the paper's preset"}
    return [
        {"name": f"{name}, {told}", **read(f"edit_quality-{data}-100-{way}.json")["plain"]}
        for way, told in ways.items()
        for data, name in DATA.items()
    ]


def single_edit() -> list[Row]:
    found = read("experiments/single_edit/result.json")
    return [
        {"name": f"{name}, {way}", **found[f"{data}, {way}"]}
        for data, name in DATA.items()
        for way in ("relation gate", "every mention", "paper")
    ]


def layers() -> list[Row]:
    files = {
        name: lines(f"experiments/layers/{data}/layers.jsonl")[1:] for data, name in DATA.items()
    }
    found: dict[int, Row] = {}
    for name, rows in files.items():
        for row in rows:
            found.setdefault(row["layer"], {"layer": row["layer"]})[name] = row
    return [found[layer] for layer in sorted(found)]


def sequential() -> str:
    rows = lines("experiments/sequential/results.jsonl")
    return (
        f"After each of {len(rows)} cycles at least {dec(min(row['all'] for row in rows))} of all "
        f"edits so far were right (teacher-forced).\nThe largest change of an answer that fired "
        f"nothing was {max(row['largest_kl'] for row in rows):g} nats (KL).\nA cycle took "
        f"{min(row['seconds'] for row in rows):.0f} to {max(row['seconds'] for row in rows):.0f} "
        f"seconds."
    )


def hard_10000() -> list[Row]:
    packs = {data: read(f"pack_checks-{data}-10000-default.json")["robustness"] for data in DATA}
    found = {data: {row["kind"]: row for row in rows} for data, rows in packs.items()}
    return [
        {"name": name, **{data: found[data].get(kind) for data in DATA}}
        for kind, name in QUESTIONS.items()
        if any(kind in own for own in found.values())
    ]


def _before_after(data: str) -> Callable[[Row], str]:
    return lambda row: three(row[data], "before", "after", "fired") if row[data] else "–"


def pack_abilities() -> list[Row]:
    own = read("pack_checks-counterfact-10000-default.json")
    return [{"name": TASK_NAMES[task], **own[task][0]} for task in TASKS]


TABLES: dict[str, Callable[[], str]] = {
    "hard-10000": Table(
        hard_10000,
        (
            NAME,
            *((f"{name}: before / after / fired", _before_after(d)) for d, name in DATA.items()),
        ),
    ),
    "quality": Table(quality_rows, QUALITY),
    "other-settings": Table(
        other_settings,
        (
            NAME,
            *FORCED,
            ("written r / g / l", lambda r: three(r["free_running"], *KINDS)),
            ("text entropy", _entropy),
        ),
    ),
    "single-edit": Table(
        single_edit,
        (
            NAME,
            ("r / g / l", lambda r: three(r, *KINDS)),
            ("tokens that stay", of("beginnings", show=percent)),
            ("KL, nats per token", of("beginnings_kl", show=partial(dec, places=2))),
            ("fired", of("beginnings_fired", show=percent)),
        ),
    ),
    "layers": Table(
        layers,
        (
            ("layer of 30", of("layer", show=str)),
            *(
                (f"{name}: r / g", lambda r, name=name: three(r[name], *KINDS[:2], places=3))
                for name in DATA.values()
            ),
        ),
    ),
    "sequential": sequential,
    "pack-abilities": Table(
        pack_abilities,
        (
            ("task", of("name", show=str)),
            ("before", of("before", show=partial(dec, places=2))),
            ("after", of("after", show=partial(dec, places=2))),
            ("fired", of("fired", show=percent)),
            ("changed though nothing fired", of("changed_unfired", show=str)),
        ),
    ),
}
