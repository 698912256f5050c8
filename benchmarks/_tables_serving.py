"""Tables of what serving with edits costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from _results import Row, read
from _table import NAME, Table, dec, duration, of


def serving() -> list[Row]:
    """CPU time is measured with 8 clients only."""
    found = read("serving.json")["load"]["ratios"]
    return [{"name": name, "cpu_ms_a_token": None, **row} for name, row in found.items()]


def serving_times() -> list[Row]:
    own = read("serving.json")
    rows = [{"name": name, **row} for name, row in own["load"]["rows"].items()]
    if other := own.get("transformers serve"):
        rows.append({"name": "`transformers serve`, unedited, 8 clients", **other})
    return rows


def serving_changes() -> list[Row]:
    own = read("serving.json")["changes"]
    return [
        {"name": name, "first": min(times), "last": max(times)}
        for name, times in (
            ("a new fact is learnt and in force", own["added_seconds"]),
            ("a fact is taken out", own["retired_seconds"]),
        )
    ]


_TWO = partial(dec, places=2)
RATIOS = (
    ("tokens a second", of("tokens_a_second", show=_TWO)),
    ("CPU time of the server, per token", of("cpu_ms_a_token", show=_TWO)),
    ("first token, median", of("first_token_p50", show=_TWO)),
    ("between tokens, median", of("between_tokens_p50", show=_TWO)),
)
TIMES = (
    ("tokens a second", of("tokens_a_second", show=partial(dec, places=1))),
    *(
        (f"{what}, {name}", of(f"{key}_{short}", show=duration))
        for what, key in (("first token", "first_token"), ("between tokens", "between_tokens"))
        for name, short in (("median", "p50"), ("99 %", "p99"))
    ),
)


TABLES: dict[str, Callable[[], str]] = {
    "serving": Table(serving, (("edited beside unedited", NAME[1]), *RATIOS)),
    "serving-times": Table(serving_times, (NAME, *TIMES)),
    "serving-changes": Table(
        serving_changes,
        (NAME, ("fastest", of("first", show=duration)), ("slowest", of("last", show=duration))),
    ),
}
