"""What people see in a terminal: tables and progress. Results go to stdout, the rest to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from lks.edits.text import counted
from lks.evaluation.report import number, table_rows
from lks.evaluation.results import (
    FactCheck,
    FailedCell,
    HardScores,
    KindScores,
    LayerScores,
    Result,
    SelfTest,
    Summary,
    TaskScores,
)
from lks.scope.inspect.reasons import SENTENCES
from lks.scope.types import Finding, Mention, Reason

if TYPE_CHECKING:
    from lks.edits.diff import Diff
    from lks.edits.edit import Edit
    from lks.model.engine.protocol import Generation
    from lks.scope.inspect.report import ScopeReport
    from lks.training.progress import Epoch
    from lks.training.wordings import Wordings

SHAKY_SHOWN = 10  # facts whose failing wording is printed
LONG = 2000  # texts: reading so many takes a minute


def echo(text: str, quiet: bool) -> None:
    """A line of progress."""
    if not quiet:
        print(text, file=sys.stderr)


def warn(text: str) -> None:
    """A line about something that works, but perhaps not as intended; told in quiet too."""
    print(f"lks: warning: {text}", file=sys.stderr)


class TrainingProgress:
    """Shows how far reading and training are, and the three losses: a bar or, elsewhere, lines.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet, console = quiet, Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
        )
        bar = not quiet and console.is_terminal
        self._lines = not quiet and not bar
        self._bar = Progress(*columns, console=console, disable=not bar)
        self._task = self._bar.add_task("reading", total=None, losses="")
        self._stage, self._tenths = "reading", 0

    def shown(self) -> Progress:
        return self._bar

    def note(self, text: str) -> None:
        echo(text, self._quiet)

    def stage(self, name: str, done: int, of: int) -> None:
        if name != self._stage:
            self._stage, self._tenths = name, 0
            self._bar.reset(self._task, description=name)
        self._bar.update(self._task, completed=done, total=of)
        tenths = 10 * done // of
        if tenths > self._tenths and of >= LONG and name != "training":
            self._tenths = tenths
            echo(f"{name}: {done} of {counted(of, 'text')}", not self._lines)

    def epoch(self, epoch: Epoch) -> None:
        losses = f"reliability {epoch.reliability:.3f}  generality {epoch.generality:.3f}"
        if epoch.locality:  # 0 where no locality prompts are read
            losses += f"  locality {epoch.locality:.3f}"
        if epoch.distilled:
            losses += f"  distilled {epoch.distilled:.3f}"
        self._bar.update(self._task, losses=losses)
        echo(f"epoch {epoch.number} of {epoch.of}: {losses}", not self._lines)


def print_answer(prompt: str, before: str, after: Generation) -> None:
    """Before and after, side by side and whole, and what fired."""
    table = Table(show_lines=True)
    for name in ("before", "after"):
        table.add_column(name, ratio=1, overflow="fold")  # a long address takes several lines
    table.add_row(Text(before), Text(after.text))
    console = Console()
    console.print(Text(prompt, style="bold"))
    console.print(table)
    if not after.fired:
        console.print("no edit fired: both answers are the unedited model's")
    print_mentions(after.findings, console=console)


def print_mentions(
    findings: Sequence[Finding],
    near: Sequence[tuple[Mention, Reason]] = (),
    console: Console | None = None,
) -> None:
    """One line a mention: where it stands, how it matched, what fires and why."""
    console = console or Console()
    if not findings:
        console.print("no edited entity is named")
    for finding in findings:
        m = finding.mention
        where = f'"{m.surface}" ({m.start}-{m.end}) is {m.subject} ({m.kind})'
        if not finding.decisions:
            verb = "fired" if m.fired else "did not fire"
            console.print(Text(f"{where}: {', '.join(m.edit_ids)} {verb}"))
            continue
        console.print(Text(where))
        for d in finding.decisions:
            verb = "fired" if d.fired else "did not fire"
            scores = f"score {d.score:.2f}, threshold {d.threshold:.2f}"
            judged = f"; yes or no is asked: {d.verdict.value}" if d.verdict else ""
            console.print(Text(f"  {d.edit_id} {verb}: {SENTENCES[d.reason]}{judged} ({scores})"))
            console.print(Text(f"    {d.sentence}", style="dim"))
    for m, reason in near:
        console.print(Text(f'"{m.surface}" is not taken for {m.subject}: {SENTENCES[reason]}'))


def print_texts(
    texts: Sequence[str],
    examined: Sequence[Sequence[Finding]],
    refused: Sequence[Sequence[tuple[Mention, Reason]]],
) -> None:
    """Each text, and what is found in it."""
    console = Console()
    for place, (text, findings, near) in enumerate(zip(texts, examined, refused, strict=True)):
        if place:
            console.print()
        console.print(Text(text, style="bold"))
        print_mentions(findings, near, console)


def print_scope_report(report: ScopeReport) -> None:
    """What a scope did over a file of texts."""
    console = Console()
    console.print(
        f"{counted(report.texts, 'text')}; of 1,000, {report.per_1000.fired} fired an edit and "
        f"{report.per_1000.named} named an edited entity",
        highlight=False,
    )
    for edit in report.most_triggered:
        console.print(Text(f"  {edit.edit_id} fired in {edit.texts}"))
    if report.near_misses:
        console.print("near misses:")
    for miss in report.near_misses:
        scores = f"{miss.score:.2f} of {miss.threshold:.2f}, {SENTENCES[miss.reason]}"
        console.print(Text(f"  {miss.edit_id} ({scores}): {' '.join(miss.text.split())}"))
    if report.names_refused:
        console.print("names that were not taken:")
    for name in report.names_refused:
        told = f'"{name.surface}" for {name.subject} ({SENTENCES[name.reason]})'
        console.print(Text(f"  {told}: {' '.join(name.text.split())}"))


def print_wordings(found: Sequence[Wordings]) -> None:
    """The ways to ask for each fact, by where they come from."""
    console = Console(soft_wrap=True)
    for one in found:
        console.print(Text(f"{one.edit.id}: {one.edit.prompt}", style="bold"))
        for source, texts in (
            ("own", one.edit.paraphrases),
            ("lent by other facts", one.lent),
            ("of the bank", one.prompts.common),
            ("by the model", one.rephrased),
        ):
            for text in texts:
                console.print(Text(f"  {text}  ({source})"))
        near = one.nearest
        far = "" if one.prompts.common else ", which lends nothing"
        told = f"nearest in the bank: {near.relation.title}, cosine {near.cosine:.2f}{far}"
        console.print(Text(f"  {told}", style="dim"))


def layer_line(row: LayerScores) -> str:
    """Scores of one layer."""
    named = ("reliability", row.reliability), ("generality", row.generality)
    scores = ", ".join(f"{kind} {number(v)}" for kind, v in (*named, ("locality", row.locality)))
    return f"layer {row.layer}: {scores}, {row.seconds:.0f} s"


def print_layers(rows: Sequence[LayerScores], best: int, title: str) -> None:
    """Scores of several layers."""
    table = Table(title=title)
    for name in ("layer", "reliability", "generality", "locality", "EP", "seconds"):
        table.add_column(name, justify="right")
    for row in rows:
        scores = map(number, (row.reliability, row.generality, row.locality, row.ep))
        style = "bold" if row.layer == best else None
        table.add_row(str(row.layer), *scores, f"{row.seconds:.0f}", style=style)
    Console().print(table)


def print_scores(summary: Summary) -> None:
    """The scores of an evaluation."""
    table = Table(title=f"{counted(summary.n, 'edit')}, {summary.prompts} prompts")
    table.add_column("")
    for name in ("reliability", "generality", "locality", "EP"):
        table.add_column(name, justify="right")
    for label, values in table_rows(summary):
        table.add_row(label, *(number(value) for value in values))
    console = Console()
    console.print(table)
    if summary.fluency is not None:
        before, after = map(number, (summary.fluency.before, summary.fluency.after))
        console.print(f"fluency (n-gram entropy): {before} before, {after} after")
    for warning in summary.warnings:
        console.print(Text(f"warning: {warning}"))


def print_self_test(found: SelfTest | None, training_seconds: float) -> None:
    """What a self-test, if there was one, came to, which facts do not hold, and what to do."""
    if found is None:
        return
    asked = counted(len(found.facts), "fact")
    if len(found.facts) < found.of:
        asked = f"{len(found.facts)} of {counted(found.of, 'fact')}, drawn at random,"
    asks, shaky = sum(fact.asks for fact in found.facts), found.shaky
    share = f", {found.seconds / training_seconds:.0%} of the training" if training_seconds else ""
    print(
        f"self-test: {asked} asked in {counted(asks, 'way')}, {found.seconds} s{share}; "
        f"{len(found.retrained)} better for training again, {len(shaky)} shaky"
    )
    for fact in shaky[:SHAKY_SHOWN]:
        first, more = fact.failed[0], len(fact.failed) - 1
        print(
            f'  {fact.id} ({fact.subject}): {first.how}: "{first.wording}"'
            + (f" and {more} more" if more else "")
        )
    if len(shaky) > SHAKY_SHOWN:
        print(f"  and {len(shaky) - SHAKY_SHOWN} more (lks pack info)")
    if shaky:
        print(
            "give these facts paraphrases (lks wordings FILE --out ..., or in people's own words), "
            'and "locality" where a question fired that should not; then train again'
        )


def print_checks(pack: str, checks: Sequence[FactCheck]) -> None:
    """The checks that failed, and how many there were."""
    failed = [check for check in checks if not check.passed]
    facts, asked = counted(len({c.id for c in checks}), "fact"), counted(len(checks), "check")
    if not failed:
        print(f"{pack}: {facts}, {asked}, all passed")
        return
    table = Table(show_lines=True)
    for name in ("id", "kind", "prompt", "wanted", "answer"):
        table.add_column(name, overflow="fold")
    for check in failed:
        fired = f"\n({', '.join(check.fired)} fired)" if check.fired else "\n(no edit fired)"
        told = (check.id, check.kind, check.prompt, check.wanted, f"{check.answer}{fired}")
        table.add_row(*map(Text, told))
    Console().print(table)
    broken = counted(len({check.id for check in failed}), "fact")
    print(f"{pack}: {facts}, {asked}, {len(failed)} failed, of {broken}")


def print_diff(found: Diff) -> None:
    """The facts that differ, a line each, and below a changed one what is another now."""
    console = Console(soft_wrap=True, highlight=False)

    def fact(mark: str, edit: Edit, style: str) -> None:
        told = f"{mark} {edit.id}  {edit.subject}: {edit.prompt} -> {edit.target}"
        console.print(Text(told, style=style))

    for edit in found.added:
        fact("+", edit, "green")
    for one in found.changed:
        fact("~", one.after, "yellow")
        for key in one.keys:
            for mark, value, style in zip("-+", one.values(key), ("red", "green"), strict=True):
                if value is not None:
                    text = json.dumps(value, ensure_ascii=False)
                    console.print(Text(f"    {mark} {key}: {text}", style=style))
    for edit in found.removed:
        fact("-", edit, "red")
    console.print(str(found) if found else "no difference")


def print_abilities(rows: Sequence[TaskScores]) -> None:
    """Tasks, before and after."""
    table = Table(title="general abilities, share of right answers")
    for name in ("task", "items", "before", "after", "fired", "changed though nothing fired"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for row in rows:
        shares = map(number, (row.before, row.after, row.fired))
        table.add_row(row.task, str(row.n), *shares, str(row.changed_unfired))
    Console().print(table)


def print_robustness(rows: Sequence[HardScores]) -> None:
    """Kinds of hard questions, before and after."""
    table = Table(title="hard questions, share of right answers")
    for name in ("kind", "questions", "before", "after", "fired"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for row in rows:
        shares = map(number, (row.before, row.after, row.fired))
        table.add_row(row.kind, str(row.n), *shares)
    Console().print(table)


def print_bench(results: Sequence[Result]) -> None:
    """Editors side by side, a table for each data set, number of edits and seed."""
    tables: dict[tuple[str, int, int], list[Result]] = {}
    for row in results:
        tables.setdefault((row.cell.data, row.cell.size, row.cell.seed), []).append(row)
    names = ("method", "r/g/l", "EP", "free r/g/l", "chat EP", "s", "kB")
    for (data, size, seed), rows in tables.items():
        count = counted(size, "edit")
        table = Table(title=f"{data}, {count}, seed {seed}; s and kB an edit", box=box.SIMPLE)
        for name in names:
            first = name == "method"  # it may take several lines, numbers stay whole
            table.add_column(
                name,
                justify="left" if first else "right",
                no_wrap=not first,
                overflow="fold" if first else "ellipsis",
            )
        for row in rows:
            if isinstance(row, FailedCell):
                table.add_row(row.cell.method, *["failed"] * (len(names) - 1))
                continue
            forced, chat = (
                row.plain.teacher_forced,
                row.chat.teacher_forced.ep if row.chat else None,
            )
            table.add_row(
                row.cell.method,
                _three(forced),
                number(forced.ep),
                _three(row.plain.free_running),
                number(chat),
                number(row.edit_seconds_each, 2),
                f"{row.stored_bytes_each / 1e3:.1f}",
            )
        Console().print(table)
    for row in results:
        if isinstance(row, FailedCell):
            Console().print(Text(f"{row.cell.method} failed: {row.error}"))


def _three(scores: KindScores) -> str:
    return "/".join(number(v, 2) for v in (scores.reliability, scores.generality, scores.locality))
