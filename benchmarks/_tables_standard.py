"""The tables of the standard sets: what each method answers, of each kind of question."""

from __future__ import annotations

from collections.abc import Callable

from _record import RESULTS
from _results import METHODS, Row, read
from _table import Table, dec, of

SETS = {
    "locft-zsre": "LocFT: ZsRE", "locft-counterfact": "LocFT: CounterFact",
    "locft-wikibigedit": "LocFT: WikiBigEdit", "hallueditbench": "HalluEditBench",
    "knowedit-counterfact": "KnowEdit: CounterFact", "knowedit-zsre": "KnowEdit: ZsRE",
}  # fmt: skip
KINDS = {
    "edit": "edit", "paraphrase": "paraphrase", "alias": "alias", "yes": "yes or no",
    "challenge 1": "after 1 challenge", "challenge 10": "after 10 challenges",
    "locality": "locality", "same subject": "same subject",
}  # fmt: skip
SAID = ("edit", "paraphrase", "yes", "challenge 1", "challenge 10")
MODELS = {"smollm2-135m": "SmolLM2-135M", "qwen2.5-coder-1.5b": "Qwen2.5-Coder-1.5B"}


def results(kind: str = "standard") -> list[Row]:
    """What was measured, a model after the other."""
    made = [read(file.name) for file in sorted(RESULTS.glob(f"{kind}-*.json"))]
    order = [*MODELS, *(result["model"] for result in made)]
    return sorted(made, key=lambda result: order.index(result["model"]))


def kinds() -> list[Row]:
    """A row for each kind of question of each set, of each model; two where an answer that holds
    the target may be judged wrong."""
    rows = []
    for result in results():
        model = MODELS.get(result["model"], result["model"])
        for name, title in SETS.items():
            own = result["sets"].get(name, {"methods": {}})
            for kind, told in KINDS.items():
                by = {m: r["kinds"][kind] for m, r in own["methods"].items() if kind in r["kinds"]}
                if not by:
                    continue
                row = {"name": f"{model}, {title}, {own['edits']:,} edits", "kind": told, "by": by,
                       "asks": next(iter(by.values()))["asks"], "shown": "right"}  # fmt: skip
                rows.append(row)
                if kind in SAID and any(one["said"] != one["right"] for one in by.values()):
                    rows.append(row | {"kind": f"{told}: target said", "shown": "said"})
    return rows


def _column(method: str) -> Callable[[Row], str]:
    """What is shown of a method, teacher-forced accuracy, and the share that fired."""

    def column(row: Row) -> str:
        own = row["by"].get(method)
        names = (row["shown"], "forced", "fired")
        return " / ".join(dec(own.get(name), 2) for name in names) if own else "–"

    return column


def shown() -> str:
    """The table, with a column for each method that was measured."""
    known = [method for method in METHODS if any(method in row["by"] for row in kinds())]
    columns = [("", of("name", show=str)), ("question", of("kind", show=str)),
               ("asks", of("asks", show=str))]  # fmt: skip
    columns += [(METHODS[method], _column(method)) for method in known]
    return Table(kinds, tuple(columns))()


DEEP = {
    **KINDS, "no": "no to a wrong value", "one hop": "one hop", "what follows": "what follows",
    **{f"{n} hops": f"{n} hops" for n in range(2, 7)}, "reversed": "turned round",
    "forgetfulness": "what else holds",
}  # fmt: skip
TOLD = "told"


def deep_kinds() -> list[Row]:
    """A row for each kind of question of each set, with what each method has right of it."""
    return [
        {"name": f"{MODELS.get(result['model'], result['model'])}, {title}", "kind": told,
         "by": {m: own["rights"][kind] for m, own in made["methods"].items()
                if kind in own["rights"]}}
        for result in results("depth")
        for name, title in SETS.items() if (made := result["sets"].get(name))
        for kind, told in DEEP.items()
        if any(kind in own["rights"] for own in made["methods"].values())
    ]  # fmt: skip


def _right(method: str) -> Callable[[Row], str]:
    """The share of right answers, and that among the questions that the told model has right."""

    def column(row: Row) -> str:
        own, told = row["by"].get(method), row["by"].get(TOLD, "")
        if own is None:
            return "–"
        reached = [a for a, b in zip(own, told, strict=False) if b == "1"]
        of_all = dec(own.count("1") / len(own), 2)
        return f"{of_all} / {dec(reached.count('1') / len(reached), 2)}" if reached else of_all

    return column


def deep() -> str:
    """The table of what follows, if there are results."""
    rows = deep_kinds()
    if not rows:
        return "There are no results yet: `benchmarks/standard_sets.py --deep` makes them."
    known = [method for method in METHODS if any(method in row["by"] for row in rows)]
    asks = ("asks", lambda row: str(len(next(iter(row["by"].values())))))
    told = ("told: right", lambda row: _right(TOLD)(row).partition(" /")[0])
    columns = [("", of("name", show=str)), ("question", of("kind", show=str)), asks, told]
    columns += [(METHODS[method], _right(method)) for method in known]
    return Table(lambda: rows, tuple(columns))()


TABLES: dict[str, Callable[[], str]] = {"standard-sets": shown, "depth": deep}
