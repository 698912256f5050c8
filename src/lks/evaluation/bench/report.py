"""What a table of editors comes to: Markdown tables, plots, and one page without a network."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jinja2 import Environment, PackageLoader

from lks.edits.text import counted
from lks.errors import InputError
from lks.evaluation.metrics import interval_of_mean, mean
from lks.evaluation.report import number
from lks.evaluation.results import (
    CellResult,
    FactScores,
    FailedCell,
    Fluency,
    Interval,
    KindScores,
    Result,
    Scores,
    TaskScores,
)

GREY = "#777777"  # readable on white and on black
COLOURS = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#b8860b", "#386cb0", "#a6761d",
           "#777777", "#e41a1c", "#17becf", "#9467bd")  # fmt: skip
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
MARKERS = "osv^D<>phX*P"

Case = dict[str, object]  # a `Probe`, and beside it the method, the data and the size


@dataclass(frozen=True)
class Row:
    """A method on a data set with so many edits: means over the seeds, None where there are none.

    Attributes:
        scored: edits that were scored, over all seeds.
        interval: 95 % of the teacher-forced EP.
        contained: shares of written answers that state the target.
        abilities: by task.
    """

    data: str
    size: int
    method: str
    seeds: int
    scored: int
    forced: Scores
    free: Scores
    chat: Scores
    chat_free: Scores
    fired: KindScores
    stops: KindScores
    kl: float | None
    entropy: Fluency
    contained: FactScores
    abilities: Mapping[str, TaskMeans]
    interval: Interval | None
    edit_seconds_each: float | None
    stored_bytes_each: float | None
    peak_memory_bytes: float | None
    first_token_ratio: float | None
    next_token_ratio: float | None
    tokens_more: float | None


@dataclass(frozen=True)
class TaskMeans:
    """A task's shares, over the seeds."""

    before: float | None
    after: float | None
    fired: float | None


@dataclass(frozen=True)
class Failure:
    """Why a method has no result, or not of every seed."""

    data: str
    size: int
    method: str
    error: str


def rows_of(results: Iterable[Result]) -> list[Row]:
    """A row for each data set, size and method that was made, the best EP first."""
    groups: dict[tuple[str, int, str], list[CellResult]] = {}
    for result in results:
        if isinstance(result, CellResult):
            groups.setdefault(_key(result), []).append(result)
    rows = [_row(*key, own) for key, own in groups.items()]
    return sorted(rows, key=lambda row: (row.data, row.size, -(row.forced.ep or -1)))


def failures_of(results: Iterable[Result]) -> list[Failure]:
    """The first failure of each data set, size and method that has one."""
    found: dict[tuple[str, int, str], Failure] = {}
    for result in results:
        if isinstance(result, FailedCell):
            key = _key(result)
            found.setdefault(key, Failure(*key, result.error))
    return list(found.values())


def _key(result: Result) -> tuple[str, int, str]:
    return result.cell.data, result.cell.size, result.cell.method


def _row(data: str, size: int, method: str, own: Sequence[CellResult]) -> Row:
    plain, chat = [one.plain for one in own], [one.chat for one in own if one.chat]
    written = [one.fluency for one in plain if one.fluency]
    return Row(
        data, size, method,
        seeds=len(own),
        scored=sum(one.n for one in plain),
        forced=_scores([one.teacher_forced for one in plain]),
        free=_scores([one.free_running for one in plain]),
        chat=_scores([one.teacher_forced for one in chat]),
        chat_free=_scores([one.free_running for one in chat]),
        fired=_kinds([one.triggered for one in plain]),
        stops=_kinds([one.clean_stops for one in plain]),
        kl=mean(one.locality_kl for one in plain),
        entropy=Fluency(mean(one.before for one in written), mean(one.after for one in written)),
        contained=_facts([one.contained for one in plain]),
        abilities=_abilities(own),
        interval=interval_of_mean(
            [(one.teacher_forced.ep or 0.0, one.intervals.ep) for one in plain]
        ),
        edit_seconds_each=mean(one.edit_seconds_each for one in own),
        stored_bytes_each=mean(one.stored_bytes_each for one in own),
        peak_memory_bytes=mean(one.peak_memory_bytes for one in own),
        first_token_ratio=mean(one.first_token_ratio for one in own),
        next_token_ratio=mean(one.next_token_ratio for one in own),
        tokens_more=mean(one.tokens_more for one in own),
    )  # fmt: skip


def _facts(own: Sequence[FactScores]) -> FactScores:
    return FactScores(mean(one.reliability for one in own), mean(one.generality for one in own))


def _kinds(own: Sequence[KindScores]) -> KindScores:
    facts = _facts(own)
    return KindScores(facts.reliability, facts.generality, mean(one.locality for one in own))


def _scores(own: Sequence[Scores]) -> Scores:
    kinds = _kinds(own)
    means = kinds.reliability, kinds.generality, kinds.locality
    return Scores(*means, mean(one.ep for one in own))


def _abilities(own: Sequence[CellResult]) -> dict[str, TaskMeans]:
    found: dict[str, list[TaskScores]] = {}
    for task in (task for result in own for task in result.abilities):
        found.setdefault(task.task, []).append(task)
    return {
        name: TaskMeans(
            mean(t.before for t in tasks),
            mean(t.after for t in tasks),
            mean(t.fired for t in tasks),
        )
        for name, tasks in found.items()
    }


def _ep(row: Row) -> str:
    low_high = row.interval
    return number(row.forced.ep) + (f" ({low_high[0]:.2f}–{low_high[1]:.2f})" if low_high else "")


def _three(scores: KindScores) -> str:
    values = scores.reliability, scores.generality, scores.locality
    return " / ".join(number(value, 2) for value in values)


def _amount(value: float | None, unit: float = 1.0) -> str:
    return "–" if value is None else f"{value / unit:.3g}"


Columns = tuple[tuple[str, Callable[[Row], str]], ...]
SCORE_COLUMNS: Columns = (
    ("method", lambda r: r.method),
    ("EP", _ep),
    ("reliability", lambda r: number(r.forced.reliability)),
    ("generality", lambda r: number(r.forced.generality)),
    ("locality", lambda r: number(r.forced.locality)),
    ("free-running r / g / l", lambda r: _three(r.free)),
    (
        "states the target, r / g",
        lambda r: f"{number(r.contained.reliability, 2)} / {number(r.contained.generality, 2)}",
    ),
    ("in a chat: EP", lambda r: number(r.chat.ep)),
    ("in a chat: r / g / l, written", lambda r: _three(r.chat_free)),
    ("fired r / g / l", lambda r: _three(r.fired)),
    ("edits scored, seeds", lambda r: f"{r.scored}, {r.seeds}"),
)
TEXT_COLUMNS: Columns = (
    ("method", lambda r: r.method),
    ("ends by itself r / g / l", lambda r: _three(r.stops)),
    ("KL of other answers", lambda r: number(r.kl)),
    ("n-gram entropy about the subjects", lambda r: number(r.entropy.after, 2)),
    ("unedited", lambda r: number(r.entropy.before, 2)),
)
COST_COLUMNS: Columns = (
    ("method", lambda r: r.method),
    ("s an edit", lambda r: _amount(r.edit_seconds_each)),
    ("kB an edit", lambda r: _amount(r.stored_bytes_each, 1e3)),
    ("peak GB", lambda r: _amount(r.peak_memory_bytes, 1e9)),
    ("first token, times unedited", lambda r: _amount(r.first_token_ratio)),
    ("each further token", lambda r: _amount(r.next_token_ratio)),
    ("tokens before a prompt", lambda r: _amount(r.tokens_more)),
)


@dataclass(frozen=True)
class Table:
    """A table of text, and the (method, error) of what is missing in it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    failed: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, title: str, columns: Columns, rows: Iterable[Row]) -> Table:
        shown = [[show(row) for _, show in columns] for row in rows]
        return cls(title, [name for name, _ in columns], shown)


def tables(results: Sequence[Result]) -> list[Table]:
    """The tables of each data set and size."""
    rows, failures, made = rows_of(results), failures_of(results), list[Table]()
    found = {(row.data, row.size) for row in rows} | {(f.data, f.size) for f in failures}
    for data, size in sorted(found):
        good = [row for row in rows if (row.data, row.size) == (data, size)]
        bad = [(f.method, f.error) for f in failures if (f.data, f.size) == (data, size)]
        what = f"{data}, {counted(size, 'edit')}"
        made.append(replace(Table.of(f"{what}: scores", SCORE_COLUMNS, good), failed=bad))
        if good:
            made.append(Table.of(f"{what}: texts", TEXT_COLUMNS, good))
            made.append(Table.of(f"{what}: costs", COST_COLUMNS, good))
        if tasks := list(dict.fromkeys(task for row in good for task in row.abilities)):
            made.append(_ability_table(f"{data}, {counted(size, 'edit')}: abilities", tasks, good))
    return made


def _ability_table(title: str, tasks: Sequence[str], rows: Sequence[Row]) -> Table:
    """Share of right answers with the edits in force and of prompts that fired, a task a column."""
    tested = [row for row in rows if row.abilities]
    first = tested[0].abilities
    unedited = ["no edits", *(number(first[t].before) if t in first else "–" for t in tasks)]

    def cell(row: Row, task: str) -> str:
        own = row.abilities.get(task)
        return f"{number(own.after)} ({_amount(own.fired, 0.01)} %)" if own else "–"

    shown = [[row.method, *(cell(row, task) for task in tasks)] for row in tested]
    return Table(title, ["method", *(f"{t} (fired)" for t in tasks)], [unedited, *shown])


def to_markdown(results: Sequence[Result]) -> str:
    """The tables in Markdown."""
    lines = []
    for table in tables(results):
        lines += [f"### {table.title}", ""]
        lines += [_line(table.columns), _line(["---"] * len(table.columns))]
        lines += [_line(cells) for cells in table.rows]
        lines += [f"\n{method} failed: {error}" for method, error in table.failed]
        lines += [""]
    if known := settings(results):
        lines += ["### Settings, of the largest cells", ""]
        lines += [*(f"- {method}: {text}" for method, text in known), ""]
    return "\n".join(lines)


def settings(results: Iterable[Result]) -> list[tuple[str, str]]:
    """(method, its settings): those of its largest cell."""
    good = [result for result in results if isinstance(result, CellResult) and result.settings]
    by_size = sorted(good, key=lambda result: result.cell.size)
    return sorted({one.cell.method: _told(one.settings) for one in by_size}.items())


def _told(values: Mapping[str, object]) -> str:
    shown = {name: value for name, value in values.items() if value is not None}
    return ", ".join(
        f"{name} ({_told(value)})" if isinstance(value, Mapping) else f"{name} {value}"
        for name, value in shown.items()
    )


def _finite(value: object) -> object:
    """The value with None where there is no number, for which JSON has no word."""
    if isinstance(value, dict):
        return {name: _finite(own) for name, own in value.items()}
    if isinstance(value, list):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plots(results: Sequence[Result]) -> dict[str, str]:
    """EP against the number of edits, an SVG a data set, readable on light and on dark.

    Raises:
        InputError: matplotlib is not installed.
    """
    check_plots()
    rows = rows_of(results)
    points = [(row, row.forced.ep) for row in rows if row.forced.ep is not None]
    methods = sorted({row.method for row, _ in points})
    made = {}
    for data in dict.fromkeys(row.data for row, _ in points):
        lines = {
            method: [(r.size, ep) for r, ep in points if (r.data, r.method) == (data, method)]
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


def to_html(results: Sequence[Result], cases: Sequence[Case], drawn: Iterable[str]) -> str:
    """The page: tables, plots, and a browser of the cases.

    Args:
        cases: a row for each scored prompt: method, data, size, and the fields of a `Probe`.
    """
    environment = Environment(autoescape=True, loader=PackageLoader(__package__, ""))
    good = [result for result in results if isinstance(result, CellResult)]
    # "<" could end the script that the cases stand in
    packed = json.dumps(_finite(list(cases)), ensure_ascii=False).replace("<", "\\u003c")
    return environment.get_template("comparison.html").render(
        tables=tables(results), settings=settings(results), plots=list(drawn), cases=packed,
        machines=sorted({result.machine for result in good}),
        versions=sorted({_told(result.versions) for result in good}),
        commits=sorted({result.commit for result in good if result.commit}),
        models=sorted({result.cell.model for result in results}),
    )  # fmt: skip
