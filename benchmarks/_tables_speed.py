"""Tables of what training, edits and answers cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import groupby

from _results import DATA, METHODS, Row, cell, quality, read
from _table import (
    KINDS,
    NAME,
    TASK_NAMES,
    Table,
    dec,
    duration,
    of,
    short,
)

COSTS = (
    ("data, edits", of("name", show=str)),
    ("epochs", of("train", "epochs", show=str)),
    ("time", of("train", "seconds", show=duration)),
    ("seconds per edit", lambda r: short(r["train"]["seconds"] / r["limit"])),
    (
        "losses: own prompt, paraphrase",
        lambda r: ", ".join(dec(r["train"]["losses"][k], 2) for k in KINDS[:2]),
    ),
    ("peak memory, GB", lambda r: dec(r["train"]["peak_memory_bytes"] / 1e9, 1)),
    ("pack, kB per edit", lambda r: dec(r["pack_bytes"] / r["limit"] / 1e3, 1)),
)


def training_speed() -> list[Row]:
    own = read("train_speed-zsre-100.json")
    whole, engine, usual = own["straightforward_seconds"], own["engine"], own["engine_default"]
    level = own["times_faster_to_level"]
    bound = {"seconds": engine["bound_seconds"], "times": own["times_faster_at_the_bound"]}
    return [
        {"name": "whole forward passes in float32", "seconds": whole, "times": None, "level": None},
        {"name": "the engine, the same steps", "seconds": engine["epoch_seconds"],
         "times": own["times_faster_an_epoch"], "level": level["same steps"]},
        {"name": "the engine, the default steps", "seconds": usual["epoch_seconds"],
         "times": whole / usual["epoch_seconds"], "level": level["default steps"]},
        {"name": f"the engine's matrix products alone, at {engine['bfloat16_gflops']} GFLOP/s",
         "level": None, **bound},
    ]  # fmt: skip


def edit_times() -> list[Row]:
    own = read("edit_times-counterfact-20.json")["seconds_an_edit"]
    return [{"name": METHODS[m], "seconds": s} for m, s in sorted(own.items(), key=lambda x: x[1])]


def changes() -> list[Row]:
    packs = {
        "CounterFact": "changes-counterfact-10000-zsre.json",
        "ZsRE": "changes-zsre-8000-default-zsre.json",
    }
    found: dict[str, Row] = {}
    for pack, file in packs.items():
        own = read(file)
        done = [(f"add {row['edits']:,}", row) for row in own["add"]]
        done += [("add 1 with its prompt alone", row) for row in own.get("add_by_prompt_alone", ())]
        done += [("add thousands with `--no-refine`", own["amortised"])]
        done += [("remove 1", {"seconds": own["remove_one_seconds"]})]
        for name, rows in groupby(done, key=lambda pair: pair[0]):
            found.setdefault(name, {"name": name})[pack] = [row for _, row in rows]
    return list(found.values())


def _change(pack: str) -> Callable[[Row], str]:
    def column(row: Row) -> str:
        own = row.get(pack)
        if not own:
            return "–"
        times = " and ".join(duration(r["seconds"]) for r in own) if len(own) < 3 else (
            f"{duration(min(r['seconds'] for r in own))} to "
            f"{duration(max(r['seconds'] for r in own))}"
        )  # fmt: skip
        if "reliability" not in own[0]:
            return times
        worst = {kind: min(r[kind] for r in own) for kind in KINDS[:2]}
        return f"{times}; {dec(worst['reliability'])}, {dec(worst['generality'])}"

    return column


FIRST_TOKEN = (
    NAME,
    *(
        (f"{name}, {what}", of(data, key, show=partial(dec, places=2)))
        for data, name in DATA.items()
        for what, key in (
            ("first token", "first_token_ratio"),
            ("further tokens", "next_token_ratio"),
        )
    ),
)


def first_token() -> list[Row]:
    """Beside the unedited model, a hundred edits."""
    return [
        {"name": METHODS[method], **{data: cell(method, data, 100) for data in DATA}}
        for method in ("lks", "inject", "rag", "ike", "grace", "ft", "lora", "memit")
    ]


def names_speed() -> list[Row]:
    return [row for row in read("scope-matcher.json")["speed"] if row["fuzzy"]]


KEPT = {
    "now": "**LKS**",
    "before": "LKS, packs before schema 3",
    "rag": "RAG, float32 vectors",
    "rag_8_bits": "RAG, stored as packs are",
}


def storage_parts() -> list[Row]:
    """The largest sets, part by part."""
    found = []
    for data, title in DATA.items():
        names = (name for name in read("storage.json") if name.startswith(f"{data}-"))
        own = read("storage.json")[max(names, key=lambda name: read("storage.json")[name]["edits"])]
        for kind, name in KEPT.items():
            parts = {"each": own[f"{kind}_each"], "of": own["edits"]}
            found.append({"name": f"{title}, {own['edits']:,}: {name}", **own[kind], **parts})
    return found


def _bytes(*names: str) -> Callable[[Row], str]:
    """Of these parts, per edit."""

    def column(row: Row) -> str:
        found = [row[name] for name in names if name in row]
        return f"{sum(found) / row['of']:,.0f}" if found else "–"

    return column


def storage() -> list[Row]:
    """All told, by data set and number of edits."""
    rows = sorted(read("storage.json").items(), key=lambda pair: (pair[0][0], pair[1]["edits"]))
    return [
        {"name": f"{DATA[name.partition('-')[0]]}, {row['edits']:,}", **row} for name, row in rows
    ]


def _each(kind: str) -> Callable[[Row], str]:
    return lambda row: f"{row[f'{kind}_each']:,}"


TABLES: dict[str, Callable[[], str]] = {
    "storage-parts": Table(
        storage_parts,
        (
            NAME,
            ("blocks", _bytes("blocks")),
            ("vectors", _bytes("references")),
            ("whose they are", _bytes("numbers", "ids")),
            ("the gate's metric", _bytes("metric")),
            ("facts", _bytes("edits")),
            ("all told", lambda row: f"{row['each']:,}"),
        ),
    ),
    "storage": Table(storage, (NAME, *((name, _each(kind)) for kind, name in KEPT.items()))),
    "training-costs": Table(quality, COSTS),
    "training-speed": Table(
        training_speed,
        (
            NAME,
            ("an epoch", of("seconds", show="{:.2f} s".format)),
            ("times faster", of("times", show=partial(dec, places=1))),
            ("times faster to held-out scores of .9", of("level", show=partial(dec, places=1))),
        ),
    ),
    "edit-times": Table(edit_times, (NAME, ("seconds per edit", of("seconds", show=short)))),
    "changes": Table(
        changes,
        (
            NAME,
            *(
                (f"to a pack of {pack}: time; r, g", _change(pack))
                for pack in ("CounterFact", "ZsRE")
            ),
        ),
    ),
    "first-token": Table(first_token, FIRST_TOKEN),
    "scoring-speed": Table(
        lambda: read("scoring_speed.json")["tasks"],
        (
            ("task", of("task", show=TASK_NAMES.__getitem__)),
            ("every text whole", of("seconds_whole", show=duration)),
            ("examples read once", of("seconds_once", show=duration)),
            ("times faster", of("ratio", show=partial(dec, places=1))),
            ("answers that differ", of("answers_apart", show=str)),
        ),
    ),
    "names-speed": Table(
        names_speed,
        (
            ("names", of("names", show="{:,}".format)),
            ("time to build the index", of("build_seconds", show=duration)),
            ("index, MiB", of("index_mib", show=str)),
            ("time per text, median", of("p50_us", show="{:,} µs".format)),
            (
                "the same, with names in other words",
                of("with_reworded_p50_us", show="{:,} µs".format),
            ),
        ),
    ),
}
