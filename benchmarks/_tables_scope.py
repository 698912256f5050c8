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

from lks.scope.config import DEFAULT
from lks.scope.registry import PARTS, described


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


def gate_sentence() -> str:
    """Wrong decisions of the gate, from the best to the worst of all data and sizes."""

    def span(values: list[float]) -> str:
        low, high = f"{100 * min(values):.0f}", percent(max(values))
        return high if f"{low} %" == high else f"{low} to {high}"

    missed = span([1 - row["paraphrase_any_fired"] for row in gate()])
    alone = span([1 - row["paraphrase_any_fired"] for row in gate("-alone")])
    wrong = span([row["other_any_fired"] for row in gate()])
    return (
        f"Measured on public data: {missed} of paraphrases fired no edit ({alone} where edits "
        f"have a prompt alone);\n{wrong} of other questions about the entity fired one."
    )


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
        "own_fired": "own prompts: fire", "paraphrase_named": "paraphrases: entity found",
        "paraphrase_fired": "paraphrases: fire their edit",
        "paraphrase_any_fired": "paraphrases: fire any edit",
        "other_fired": "other questions: fire their edit",
        "other_any_fired": "other questions: fire any edit",
        "other_open_ended": "other questions: taken for open-ended",
        "lent": "the same, with borrowed other questions",
    }  # fmt: skip
    tenth = partial(percent, places=1)
    return tuple((told[key], of(key, show=tenth)) for key in keys)


STEPS = {
    "forms": "form of a name", "generators": "name",
    "proposals": "name, if the sentence means its edit",
    "filters": "no name", "sentence_vetoes": "veto", "text_vetoes": "veto by the text",
}  # fmt: skip
ASKED = (
    ("zsre", "paraphrases"), ("zsre", "other questions"), ("zsre", "misspelt"),
    ("counterfact", "paraphrases"), ("counterfact", "other questions"),
    ("counterfact", "misspelt"), ("cases", "must fire"), ("cases", "must not fire"),
)  # fmt: skip


def parts() -> list[Row]:
    """Every part of the registry, and whether the default scope has it."""
    return [
        {
            "step": STEPS[kind], "name": f"`{name}`", "does": described(kind, name),
            "default": "yes" if name in getattr(DEFAULT, kind) else "no",
        }
        for kind, own in PARTS.items()
        for name in own
    ]  # fmt: skip


def ablation(prefix: str) -> list[Row]:
    """A row for each configuration whose name begins so."""
    own = read("scope_ablation.json")
    return [
        {"name": name.removeprefix(prefix), **row}
        for name, row in own.items()
        if name.startswith(prefix) and name != "overlap"
    ]


def _changes(data: str, kind: str) -> Callable[[Row], str]:
    """Texts that are right in this configuration only, and in the other only."""

    def column(row: Row) -> str:
        found = row[data][kind]
        return f"+{found['gained']} −{found['lost']}" if found["gained"] or found["lost"] else ""

    return column


def _abilities(row: Row) -> str:
    """Texts of the abilities that no longer fire, and that do now."""
    gained, lost = (
        sum(row[data]["abilities"][what] for data in DATA) for what in ("gained", "lost")
    )
    return f"+{gained} −{lost}" if gained or lost else ""


def _time(row: Row) -> str:
    return " / ".join(f"{row[data]['us_ratio']:.2f}" for data in DATA)


def _rights(data: str, kind: str) -> Callable[[Row], str]:
    def column(row: Row) -> str:
        found = row[data][kind]
        return percent(found["right"] / found["texts"], places=1)

    return column


_TITLES = {"zsre": "ZsRE", "counterfact": "CounterFact", "cases": "cases"}
_ABLATION = (
    ("part", of("name", show=str)),
    *((f"{_TITLES[data]}: {kind}", _changes(data, kind)) for data, kind in ASKED),
    ("abilities", _abilities),
    ("time of names", _time),
)


def overlap() -> list[Row]:
    own = read("scope_ablation.json")["overlap"]
    return [{"name": DATA[data], **own[data]} for data in DATA]


def _fired(when: str, kind: str) -> Callable[[Row], str]:
    return lambda row: percent(row[when][kind]["fired"] / row[when][kind]["texts"], places=1)


LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "zh": "Chinese",
    "ja": "Japanese", "ko": "Korean", "ru": "Russian", "ar": "Arabic",
}  # fmt: skip


def languages() -> list[Row]:
    own = read("languages.json")["languages"]
    return [{"name": told, **own[code]} for code, told in LANGUAGES.items()]


def _share_of(kind: str) -> Callable[[Row], str]:
    return lambda row: percent(row[kind][0] / row[kind][1], places=1)


TABLES: dict[str, Callable[[], str]] = {
    "languages": Table(
        languages,
        (
            ("asked in", of("name", show=str)),
            ("the name stands in the question", of("named", show=percent)),
            ("the fact's question: fires", _share_of("question")),
            ("rephrased: fires", _share_of("rephrased")),
            ("a question about somebody else: fires", _share_of("other")),
            ("a question that needs the fact for another one: fires", _share_of("through it")),
        ),
    ),
    "gate-sentence": gate_sentence,
    "scope-parts": Table(
        parts,
        (
            ("step", of("step", show=str)),
            ("part", of("name", show=str)),
            ("what it does", of("does", show=str)),
            ("by default", of("default", show=str)),
        ),
    ),
    "scope-right": Table(
        lambda: [row for row in ablation("") if row["name"] in ("default", "exact")],
        (
            ("", of("name", show=str)),
            *((f"{_TITLES[data]}: {kind}", _rights(data, kind)) for data, kind in ASKED),
        ),
    ),
    "scope-without": Table(partial(ablation, "without "), _ABLATION),
    "scope-only": Table(partial(ablation, "only "), _ABLATION),
    "scope-overlap": Table(
        overlap,
        (
            ("", of("name", show=str)),
            ("held-out paraphrases", of("paraphrases", show="{:,}".format)),
            ("literally in the bank", of("literally_in_bank", show="{:,}".format)),
            ("wordings of the bank among them", of("wordings_in_question", show=str)),
            *(
                (f"{kind} that fire, {when} borrowed wordings", _fired(when, kind))
                for kind in ("paraphrases", "other questions")
                for when in ("with", "without")
            ),
        ),
    ),
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
            ("of 1,000 texts of", of("name", show=str)),
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
