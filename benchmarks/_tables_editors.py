"""Tables that compare editors, and what the README says of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from _results import DATA, DEFAULT, LARGER, METHODS, Row, cell, cells, comparison, read
from _table import (
    KINDS,
    NAME,
    QUESTIONS,
    SIZES,
    TASK_NAMES,
    TASKS,
    Table,
    dec,
    duration,
    of,
    percent,
    short,
    three,
)


def by_size() -> list[Row]:
    """A row a method; its EP by data set and size."""
    found: dict[str, Row] = {}
    for row in comparison():
        own = found.setdefault(row["method"], {"name": METHODS[row["method"]]})
        own[row["data"], min(s for s in SIZES if s >= row["size"])] = row
    order = {row["method"]: i for i, row in enumerate(cells("counterfact", 100))}
    return [found[method] for method in sorted(found, key=lambda m: order[m])]


def _ep(data: str, size: int) -> Callable[[Row], str]:
    def column(row: Row) -> str:
        made = row.get((data, size))
        return dec(made["ep"]) + (" †" if made["leaky"] else "") if made else "–"

    return column


def ep_by_size(data: str) -> Table:
    return Table(by_size, (NAME, *((f"{size:,}", _ep(data, size)) for size in SIZES)))


SCORES = (
    NAME,
    ("EP", of("ep")),
    ("teacher-forced r / g / l", lambda r: three(r, *KINDS, places=3)),
    ("written r / g / l", lambda r: three(r, *(f"free_{kind}" for kind in KINDS))),
    ("states the target r / g", lambda r: three(r, "contained", "contained_generality")),
    ("EP in a chat", of("chat_ep")),
    ("seconds per edit", of("edit_seconds_each", show=short)),
    ("bytes per edit", lambda r: f"{r['stored_bytes_each']:,.0f}"),
)


def scores(data: str, size: int) -> Table:
    return Table(partial(cells, data, size), SCORES)


def larger() -> list[Row]:
    """The cells of the larger model, a data set and size after the other."""
    rows = sorted(comparison(LARGER), key=lambda row: (row["data"], row["size"]))
    return [row | {"set": f"{DATA[row['data']]}, {row['size']:,}"} for row in rows]


def _ability(task: str) -> Callable[[Row], str]:
    return lambda row: dec(row["abilities"][task]["after"], 2)


def fired(row: Row) -> str:
    """Share of the ability questions that fired an edit."""
    own = [row["abilities"][task]["fired"] for task in TASKS[:5]]
    return percent(sum(own) / len(own), 1)


def abilities(rows: Callable[[], list[Row]]) -> Table:
    tasks = ((TASK_NAMES[task], _ability(task)) for task in TASKS)
    return Table(rows, (NAME, *tasks, ("fired", fired)))


def seeds() -> str:
    """EP of LKS with a hundred edits, seed by seed."""
    told = []
    for data, name in DATA.items():
        eps = [read(f"table-{DEFAULT}/{data}-100-lks-{seed}.json")["plain"] for seed in range(3)]
        told.append(f"{', '.join(dec(own['teacher_forced']['ep']) for own in eps)} on {name}")
    return f"With 100 edits and the seeds 0, 1 and 2, LKS has an EP of {' and '.join(told)}."


def hard_compared() -> list[Row]:
    methods = read("hard_questions-counterfact-100.json")["methods"]
    return [
        {"name": name, **{method: own["kinds"][kind]["after"] for method, own in methods.items()},
         "unedited": methods["lks"]["kinds"][kind]["before"]}
        for kind, name in QUESTIONS.items() if kind in methods["lks"]["kinds"]
    ]  # fmt: skip


two_places = partial(dec, places=2)
ASKED = ("unedited", "lks", "inject", "rag", "ike", "grace", "ft")


HEADLINE = (
    NAME,
    ("new fact stated, own prompt", of("contained", show=percent)),
    ("new fact stated, other words", of("contained_generality", show=percent)),
    ("other questions unchanged", of("locality", show=percent)),
    ("answer is the fact alone", of("free_generality", show=percent)),
)


def headline() -> list[Row]:
    """CounterFact, a thousand edits: no cell of these has a known flaw."""
    return [row for row in cells("counterfact", 1_000) if row["method"] != "lks-paper"]


def why_not_rag() -> list[Row]:
    return cells("counterfact", 9_919, ("lks", "inject", "rag"))


def sentence() -> str:
    """What the README says before its plot."""
    own = cell("lks", "counterfact", 9_919)
    training = duration(own["size"] * own["edit_seconds_each"]).replace("min", "minutes")
    scored, right, kept = own["scored"], percent(own["free_generality"]), own["free_locality"]
    return (
        f"A model of 135 million parameters learnt all {own['size']:,} facts of the public data "
        f"set\nCounterFact at once, in {training} on one CPU core. {scored} of them were asked "
        f"in\nwords that training never saw: {right} of the answers were the new fact and nothing "
        f"else.\nOf {scored} other questions about the same entities, {percent(kept)} kept "
        "their old answer."
    )


TABLES: dict[str, Callable[[], str]] = {
    "readme-sentence": sentence,
    "why-not-rag": Table(
        why_not_rag,
        (
            *HEADLINE,
            ("time to first token (unedited: 1)", of("first_token_ratio", show=two_places)),
        ),
    ),
    "seeds": seeds,
    **{f"ep-{data}": ep_by_size(data) for data in DATA},
    **{
        f"scores-{data}-{size}": scores(data, size)
        for data, most in (("zsre", 10_000), ("counterfact", 9_919))
        for size in (100, 1_000, most)
    },
    "larger": Table(
        larger,
        (
            ("edits", of("set", show=str)),
            *SCORES,
            ("tokens before a prompt", of("tokens_more", show=short)),
            ("time to first token (unedited: 1)", of("first_token_ratio", show=two_places)),
        ),
    ),
    **{
        f"abilities-{data}-{size}": abilities(partial(cells, data, size))
        for data, size in (("counterfact", 1_000), ("counterfact", 9_919))
    },
    "abilities-larger": abilities(
        lambda: [
            row | {"name": f"{row['name']} {row['set']}" if row["method"] == "lks" else row["name"]}
            for row in larger()
            if row["abilities"] and (row["method"] == "lks" or row["data"] == "counterfact")
        ]
    ),
    "hard-compared": Table(
        hard_compared,
        (NAME, *((METHODS[m], of(m, show=two_places)) for m in ASKED)),
    ),
}
