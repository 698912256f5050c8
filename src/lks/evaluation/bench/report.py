"""What a table of editors comes to: Markdown tables, plots, and one page without a network."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader

from lks.errors import InputError
from lks.evaluation.metrics import interval_of_mean, mean
from lks.evaluation.report import number

KINDS = ("reliability", "generality", "locality")
GREY = "#777777"  # readable on white and on black
COLOURS = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#b8860b", "#386cb0", "#a6761d",
           "#777777", "#e41a1c", "#17becf", "#9467bd")  # fmt: skip
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
MARKERS = "osv^D<>phX*P"

Row = dict[str, Any]


def rows_of(summaries: Iterable[Row]) -> list[Row]:
    """A row for each data set, size and method: means over the seeds, the best EP first.

    A method that failed stands at the end with its `error`.
    """
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for summary in summaries:
        cell = summary["cell"]
        groups.setdefault((cell["data"], cell["size"], cell["method"]), []).append(summary)
    rows = [_row(key, own) for key, own in groups.items()]
    return sorted(rows, key=lambda row: (row["data"], row["size"], -(row.get("ep") or -1)))


def _row(key: tuple[str, int, str], own: Sequence[Row]) -> Row:
    row: Row = dict(zip(("data", "size", "method"), key, strict=True))
    good = [summary for summary in own if "error" not in summary]
    row["error"] = next((summary["error"] for summary in own if "error" in summary), None)
    if not good:
        return row
    row["seeds"], row["scored"] = len(good), sum(summary["plain"]["n"] for summary in good)

    def over(*path: str) -> float | None:
        found: list[Any] = good
        for name in path:
            found = [(value or {}).get(name) for value in found]
        return mean(found)

    for kind in (*KINDS, "ep"):
        row[kind] = over("plain", "teacher_forced", kind)
        row[f"free_{kind}"] = over("plain", "free_running", kind)
        row[f"chat_{kind}"] = over("chat", "teacher_forced", kind)
        row[f"chat_free_{kind}"] = over("chat", "free_running", kind)
    for kind in KINDS:
        row[f"fired_{kind}"] = over("plain", "triggered", kind)
        row[f"stops_{kind}"] = over("plain", "clean_stops", kind)
    row["kl"] = over("plain", "locality_kl")
    for name in ("before", "after"):
        row[f"entropy_{name}"] = over("plain", "fluency", name)
    row["contained"] = over("plain", "contained", "reliability")
    row["contained_generality"] = over("plain", "contained", "generality")
    row["abilities"] = _abilities(good)
    plain = [summary["plain"] for summary in good]
    row["interval"] = interval_of_mean(
        [(own["teacher_forced"]["ep"], own["intervals"].get("ep")) for own in plain]
    )
    for name in ("edit_seconds_each", "stored_bytes_each", "peak_memory_bytes",
                 "first_token_ratio", "next_token_ratio"):  # fmt: skip
        row[name] = over(name)
    return row


def _abilities(good: Sequence[Row]) -> dict[str, Row]:
    """Each task's shares, over the seeds."""
    found: dict[str, list[Row]] = {}
    for summary in good:
        for task in summary.get("abilities", ()):
            found.setdefault(task["task"], []).append(task)
    keys = ("before", "after", "fired")
    return {name: {key: mean(t[key] for t in own) for key in keys} for name, own in found.items()}


def _ep(row: Row) -> str:
    low_high = row["interval"]
    return number(row["ep"]) + (f" ({low_high[0]:.2f}–{low_high[1]:.2f})" if low_high else "")


def _three(row: Row, *names: str) -> str:
    return " / ".join(number(row[name], 2) for name in names)


def _amount(value: float | None, unit: float = 1.0) -> str:
    return "–" if value is None else f"{value / unit:.3g}"


SCORE_COLUMNS = (
    ("method", lambda r: r["method"]),
    ("EP", _ep),
    *((kind, lambda r, kind=kind: number(r[kind])) for kind in KINDS),
    ("free-running r / g / l", lambda r: _three(r, *(f"free_{kind}" for kind in KINDS))),
    ("states the target, r / g", lambda r: _three(r, "contained", "contained_generality")),
    ("in a chat: EP", lambda r: number(r["chat_ep"])),
    (
        "in a chat: r / g / l, written",
        lambda r: _three(r, *(f"chat_free_{kind}" for kind in KINDS)),
    ),
    ("fired r / g / l", lambda r: _three(r, *(f"fired_{kind}" for kind in KINDS))),
    ("edits scored, seeds", lambda r: f"{r['scored']}, {r['seeds']}"),
)
TEXT_COLUMNS = (
    ("method", lambda r: r["method"]),
    ("ends by itself r / g / l", lambda r: _three(r, *(f"stops_{kind}" for kind in KINDS))),
    ("KL of other answers", lambda r: number(r["kl"])),
    ("n-gram entropy about the subjects", lambda r: number(r["entropy_after"], 2)),
    ("unedited", lambda r: number(r["entropy_before"], 2)),
)
COST_COLUMNS = (
    ("method", lambda r: r["method"]),
    ("s an edit", lambda r: _amount(r["edit_seconds_each"])),
    ("kB an edit", lambda r: _amount(r["stored_bytes_each"], 1e3)),
    ("peak GB", lambda r: _amount(r["peak_memory_bytes"], 1e9)),
    ("first token, times unedited", lambda r: _amount(r["first_token_ratio"])),
    ("each further token", lambda r: _amount(r["next_token_ratio"])),
)
SECTIONS = (("scores", SCORE_COLUMNS), ("texts", TEXT_COLUMNS), ("costs", COST_COLUMNS))


def tables(summaries: Iterable[Row]) -> list[dict[str, Any]]:
    """Tables of text: title, columns, and rows of cells; failures beside them."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows_of(summaries):
        found.setdefault((row["data"], row["size"]), []).append(row)
    made = []
    for (data, size), rows in found.items():
        good = [row for row in rows if "seeds" in row]
        for what, columns in SECTIONS if good else SECTIONS[:1]:
            failed = rows if what == SECTIONS[0][0] else []
            made.append(
                {
                    "title": f"{data}, {size} edit{'s' if size > 1 else ''}: {what}",
                    "columns": [name for name, _ in columns],
                    "rows": [[show(row) for _, show in columns] for row in good],
                    "failed": [(r["method"], r["error"]) for r in failed if r.get("error")],
                }
            )
        if tasks := list(dict.fromkeys(task for row in good for task in row["abilities"])):
            made.append(_ability_table(f"{data}, {size} edits: abilities", tasks, good))
    return made


def _ability_table(title: str, tasks: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    """Share of right answers with the edits in force and of prompts that fired, a task a column."""
    tested = [row for row in rows if row["abilities"]]
    first = tested[0]["abilities"]
    unedited = ["no edits", *(number(first[t]["before"]) if t in first else "–" for t in tasks)]

    def cell(row: Row, task: str) -> str:
        own = row["abilities"].get(task)
        return f"{number(own['after'])} ({_amount(own['fired'], 0.01)} %)" if own else "–"

    shown = [[row["method"], *(cell(row, task) for task in tasks)] for row in tested]
    return {
        "title": title, "columns": ["method", *(f"{t} (fired)" for t in tasks)],
        "rows": [unedited, *shown], "failed": [],
    }  # fmt: skip


def to_markdown(summaries: Sequence[Row]) -> str:
    """The tables in Markdown."""
    lines = []
    for table in tables(summaries):
        lines += [f"### {table['title']}", ""]
        lines += [_line(table["columns"]), _line(["---"] * len(table["columns"]))]
        lines += [_line(cells) for cells in table["rows"]]
        lines += [f"\n{method} failed: {error}" for method, error in table["failed"]]
        lines += [""]
    if known := settings(summaries):
        lines += ["### Settings, of the largest cells", ""]
        lines += [*(f"- {method}: {text}" for method, text in known), ""]
    return "\n".join(lines)


def settings(summaries: Iterable[Row]) -> list[tuple[str, str]]:
    """(method, its settings): those of its largest cell."""
    by_size = sorted(summaries, key=lambda summary: summary["cell"]["size"])
    found = {s["cell"]["method"]: _told(s["settings"]) for s in by_size if s.get("settings")}
    return sorted(found.items())


def _told(values: Row) -> str:
    shown = {name: value for name, value in values.items() if value is not None}
    return ", ".join(
        f"{name} ({_told(value)})" if isinstance(value, dict) else f"{name} {value}"
        for name, value in shown.items()
    )


def _finite(value: Any) -> Any:
    """The value with None where there is no number, for which JSON has no word."""
    if isinstance(value, dict):
        return {name: _finite(own) for name, own in value.items()}
    if isinstance(value, list):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plots(summaries: Sequence[Row]) -> dict[str, str]:
    """EP against the number of edits, an SVG a data set, readable on light and on dark.

    Raises:
        InputError: matplotlib is not installed.
    """
    check_plots()
    rows = [row for row in rows_of(summaries) if row.get("ep") is not None]
    methods = sorted({row["method"] for row in rows})
    made = {}
    for data in dict.fromkeys(row["data"] for row in rows):
        lines = {
            method: [
                (r["size"], r["ep"]) for r in rows if (r["data"], r["method"]) == (data, method)
            ]
            for method in methods
        }
        made[data] = _plot(f"{data}: EP against the number of edits", lines)
    return made


def check_plots() -> None:
    """InputError if no plots can be drawn, for what begins with hours of work."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError('the plots need matplotlib: pip install "latent-knowledge-scalpel[plot]"')


def _plot(title: str, lines: dict[str, list[tuple[int, float]]]) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none", "svg.hashsalt": "lks", "text.color": GREY,
        "axes.labelcolor": GREY, "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY,
        "savefig.transparent": True, "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        axes = (figure := Figure(figsize=(7, 4.2), layout="constrained")).subplots()
        for i, (method, points) in enumerate(lines.items()):
            if points:
                colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
                # a label that begins with "_" would be left out
                label = f" {method}" if method.startswith("_") else method
                axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=label)
        axes.set(xscale="log", xlabel="edits", ylabel="EP, teacher-forced", ylim=(0, 1.02))
        axes.set_title(title, color=GREY, parse_math=False)
        axes.grid(alpha=0.25)
        axes.legend(bbox_to_anchor=(1.01, 1), loc="upper left")
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=NO_METADATA)
    text = drawn.getvalue()
    return "\n".join(line.rstrip() for line in text[text.index("<svg") :].splitlines()) + "\n"


def to_html(summaries: Sequence[Row], cases: Sequence[Row], drawn: Iterable[str]) -> str:
    """The page: tables, plots, and a browser of the cases.

    Args:
        cases: a row for each scored prompt: method, data, size, and the fields of a `Probe`.
    """
    environment = Environment(autoescape=True, loader=PackageLoader(__package__, ""))
    good = [summary for summary in summaries if "error" not in summary]
    # "<" could end the script that the cases stand in
    packed = json.dumps(_finite(list(cases)), ensure_ascii=False).replace("<", "\\u003c")
    return environment.get_template("comparison.html").render(
        tables=tables(summaries), settings=settings(summaries), plots=list(drawn), cases=packed,
        machines=sorted({summary["machine"] for summary in good}),
        versions=sorted({_told(summary["versions"]) for summary in good}),
        commits=sorted({summary["commit"] for summary in good if summary.get("commit")}),
        models=sorted({summary["cell"]["model"] for summary in summaries}),
    )  # fmt: skip
