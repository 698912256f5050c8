"""Tables of facts of daily work, and of the scope's hand-written cases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from _results import DEFAULT, LARGER, Row, read
from _table import Table, of, percent

MODELS = {"life": DEFAULT, "life-qwen": LARGER}
METHODS = {
    "before": "LKS, before (28 November)", "lks": "**LKS**", "inject": "fact in the prompt",
    "rag": "RAG, three facts", "unedited": "unedited model",
}  # fmt: skip
FORMS = {
    "question": "question", "casual": "casual", "completion": "completion",
    "instruction": "instruction", "follow-up": "follow-up", "context": "after other talk",
}  # fmt: skip
KINDS = {"url_email": "URL or e-mail"}


def _made(model: str) -> Row:
    """What was measured with a model."""
    made: Row = read(f"life-{model}.json")
    return made


def methods(model: str) -> list[Row]:
    """A row for each editor: all asks that want the target, neighbours, yes and no."""
    own = _made(model)["methods"]
    return [
        {"name": told, **own[name]["all"]["target"],
         "unchanged": own[name]["forms"]["neighbour"]["unchanged"],
         "yes_no": own[name]["forms"]["yes-no"]["right"]}
        for name, told in METHODS.items() if name in own
    ]  # fmt: skip


def fired(model: str) -> str:
    """Of the asks whose edit fired those that were answered with the target, and what it cost."""
    made = _made(model)
    own = made["methods"]["lks"]
    all_asks = own["all"]["target"]
    share = percent(all_asks["whole"] / all_asks["fired"])
    seconds = own["edit_seconds"]
    return (
        f"Where the edit fired, {share} of the answers held the whole target. Editing, with the "
        f"self-test, took {seconds / 60:.0f} minutes on one core, so {seconds / made['facts']:.0f} "
        "seconds a fact."
    )


def split(group: str, titles: dict[str, str] | None = None) -> list[Row]:
    """A row for each form or kind: LKS before and now."""
    own = _made(DEFAULT)["methods"]
    names = titles or {name: KINDS.get(name, name) for name in sorted(own["lks"][group])}
    return [
        {"name": told, "before": own["before"][group][name], "now": own["lks"][group][name]}
        for name, told in names.items()
    ]


def cases() -> list[Row]:
    """A row for each kind of case: right before and now."""
    own = {when: read(f"scope_cases{file}.json")["kinds"]
           for when, file in (("before", "-before"), ("now", ""))}  # fmt: skip
    return [{"name": kind, **{when: own[when][kind] for when in own}} for kind in own["now"]]


def _shares(when: str) -> tuple[tuple[str, Callable[[Row], str]], ...]:
    return tuple(
        (f"{when}: {title}", of(when, key, show=percent))
        for key, title in (("fired", "fires"), ("whole", "said whole"), ("wrong", "wrong"))
    )


def _right(when: str) -> Callable[[Row], str]:
    return lambda row: f"{row[when]['right']} of {row[when]['cases']}"


def _side(when: str, side: str) -> Callable[[Row], str]:
    def column(row: Row) -> str:
        right, of_all = row[when][side]
        return percent(right / of_all) if of_all else ""

    return column


NAME = of("name", show=str)
METHODS_SHOWN: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("", NAME),
    ("fires", lambda row: percent(row["fired"]) if row["fired"] else "–"),
    ("target said", of("said", show=percent)),
    ("said whole", of("whole", show=percent)),
    ("another value than before", of("wrong", show=percent)),
    ("neighbours unchanged", of("unchanged", show=percent)),
    ("yes or no: right", of("yes_no", show=percent)),
)
TABLES: dict[str, Callable[[], str]] = {
    **{name: Table(partial(methods, model), METHODS_SHOWN) for name, model in MODELS.items()},
    "life-qwen-fired": partial(fired, MODELS["life-qwen"]),
    "life-forms": Table(
        partial(split, "forms", FORMS), (("", NAME), *_shares("before"), *_shares("now"))
    ),
    "life-kinds": Table(partial(split, "kinds"), (("", NAME), *_shares("before"), *_shares("now"))),
    "scope-cases": Table(
        cases,
        (
            ("kind", NAME),
            ("before", _right("before")),
            ("now", _right("now")),
            ("now: must fire", _side("now", "fire")),
            ("must not", _side("now", "not")),
        ),
    ),
}
