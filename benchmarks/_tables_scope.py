"""Tables of the relation gate and the matcher."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from _results import DATA, Row, read
from _table import (
    SIZES,
    TASK_NAMES,
    TASKS,
    Table,
    of,
    percent,
)


def gate(suffix: str = "") -> list[Row]:
    own = read("gate.json")
    names = [(data, size) for data in DATA for size in SIZES if f"{data}-{size}{suffix}" in own]
    return [
        {"name": f"{DATA[data]}, {size:,}", **own[f"{data}-{size}{suffix}"]} for data, size in names
    ]


def without_lent() -> list[Row]:
    """Other questions that fire, with and without those that other rows lend."""
    lent = {row["name"]: row for row in gate()}
    return [{**row, "lent": lent[row["name"]]["other_fired"]} for row in gate("-paraphrases")]


def fired_texts() -> list[Row]:
    own = {data: read("gate.json")[f"{data}-10000"]["ability"] for data in DATA}
    return [
        {"name": TASK_NAMES[task], **{data: own[data][task] for data in DATA}} for task in TASKS
    ]


CASES = {
    "exact": "as it is known", "possessive": "possessive", "upper case": "upper case",
    "lower case": "lower case", "no diacritics": "without diacritics", "full width": "full width",
    "hyphens for spaces": "hyphens for spaces",
    "1 misspelling, 6 letters or more": "one misspelling, 6 letters or more",
    "2 misspellings, 12 letters or more": "two misspellings, 12 letters or more",
}  # fmt: skip


def matcher() -> list[Row]:
    own = read("scope-matcher.json")["data"]
    return [
        {"name": name, **{data: own[data]["recall"][case] for data in DATA}}
        for case, name in CASES.items()
    ]


def _found(data: str) -> tuple[tuple[str, Callable[[Row], str]], ...]:
    tenth = partial(percent, places=1)
    return (
        (f"{DATA[data]}: found", of(data, "found", show=tenth)),
        ("wrong entity", of(data, "wrong_entity", show=tenth)),
    )


def _shares(*keys: str) -> tuple[tuple[str, Callable[[Row], str]], ...]:
    told = {
        "own_fired": "own prompts that fire", "paraphrase_named": "paraphrases: entity found",
        "paraphrase_fired": "fire their edit", "paraphrase_any_fired": "fire any edit",
        "other_fired": "other questions that fire their edit", "other_any_fired": "any edit",
        "other_open_ended": "taken for open-ended", "lent": "with lent other questions",
    }  # fmt: skip
    tenth = partial(percent, places=1)
    return tuple((told[key], of(key, show=tenth)) for key in keys)


TABLES: dict[str, Callable[[], str]] = {
    "gate": Table(
        gate,
        (
            ("data, edits", of("name", show=str)),
            *_shares(
                "own_fired",
                "paraphrase_named",
                "paraphrase_fired",
                "paraphrase_any_fired",
                "other_fired",
                "other_any_fired",
                "other_open_ended",
            ),
        ),
    ),
    "gate-alone": Table(
        partial(gate, "-alone"),
        (("data, edits", of("name", show=str)), *_shares("paraphrase_fired", "other_fired")),
    ),
    "gate-lent": Table(
        without_lent,
        (("data, edits", of("name", show=str)), *_shares("other_fired", "lent")),
    ),
    "fired-texts": Table(
        fired_texts,
        (
            ("texts", of("name", show=str)),
            *(
                (f"{name}: {what}", of(data, f"{key}_per_1000", show="{:.1f}".format))
                for data, name in DATA.items()
                for what, key in (("named", "named"), ("fired", "fired"))
            ),
        ),
    ),
    "matcher": Table(
        matcher, (("name", of("name", show=str)), *_found("zsre"), *_found("counterfact"))
    ),
}
