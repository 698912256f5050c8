"""`lks bench`: editors side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lks.cli.options import (
    DEFAULT_MODEL,
    Machine,
    MaxNewTokens,
    Model,
    Output,
    each,
    load_rows,
    numbers,
    print_json,
)
from lks.edits.text import counted
from lks.errors import EditFileError, InputError, TrainingInterrupted

SIZES = 1, 10, 100


def bench(
    data: Annotated[list[Path], typer.Argument(help="JSONL files of edits.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    methods: Annotated[
        str, typer.Option(help="Editors, with commas; all if not given. module:Class for your own.")
    ] = "",
    sizes: Annotated[
        str,
        typer.Option(help="Numbers of edits, with commas; else 1,10,100, or all of a small file."),
    ] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, with commas; each draws other rows.")] = "0",
    rows: Annotated[int, typer.Option(help="Most edits to score.", min=1)] = 100,
    trials: Annotated[
        int, typer.Option(help="With few edits: most sets to average over.", min=1)
    ] = 10,
    chat_rows: Annotated[int, typer.Option(help="Most edits to score in a chat too.", min=0)] = 32,
    abilities: Annotated[
        list[Path] | None, typer.Option(help="File of a task, as for lks ability; may be repeated.")
    ] = None,
    ability_rows: Annotated[int, typer.Option(help="Most items of a task.", min=1)] = 100,
    max_new_tokens: MaxNewTokens = 16,
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html, report.md and plots there too.")
    ] = False,
    model: Model = DEFAULT_MODEL,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Compare editors on the same edits and prompts. Run again, it goes on."""
    from lks.cli.console import echo, print_bench, warn
    from lks.editors.registry import EDITORS, check_editors, unlocated
    from lks.evaluation import ability
    from lks.evaluation.bench import cells as cells_module
    from lks.evaluation.bench import report as report_module
    from lks.evaluation.bench.run import run
    from lks.evaluation.metrics import not_asked
    from lks.evaluation.results import Cell, FailedCell
    from lks.model.loading import resolve

    sys.path.insert(0, "")  # editors of the user's own lie here
    named = [name.strip() for name in methods.split(",") if name.strip()] or EDITORS
    chosen = list(dict.fromkeys(named))
    check_editors(chosen)  # this and what follows: what is wrong is told before anything runs
    if report:
        report_module.check_plots()
    files = each(load_rows, data)
    wanted = _sizes(sizes, {file: len(own) for file, own in files.items()})
    each(lambda file: _located(file, unlocated(chosen, files[file])), data)
    drawn = numbers("--seeds", seeds)
    for file, own in wanted.items():
        for gap in not_asked(files[file]):
            warn(f"{file}: {gap}")
        _tell_shared(file, len(files[file]), own[-1], drawn)
    each(ability.load, abilities or [])
    resolve(model, lambda text: echo(text, output.silent))
    cells = [
        Cell(
            method,
            str(file),
            size,
            seed,
            model=model,
            rows=rows,
            trials=trials,
            chat_rows=chat_rows,
            abilities=tuple(map(str, abilities or ())),
            ability_rows=ability_rows,
            max_new_tokens=max_new_tokens,
            threads=machine.threads,
            device=machine.device,
            dtype=machine.dtype,
            layers_path=machine.layers_path,
        )
        for file, own in wanted.items()
        for size in own
        for seed in drawn
        for method in chosen
    ]

    def on_cell(name: str, done: int, of: int, left: float | None) -> None:
        time = "no time known yet" if left is None else f"about {left / 60:.0f} min left"
        echo(f"{name}: {done} of {of}; {time}", output.silent)

    try:
        results = run(cells, out, on_cell, lambda name: echo(f"{name} ...", output.silent))
    except KeyboardInterrupt:
        raise TrainingInterrupted("stopped; the same command goes on") from None
    if output.as_json:
        print_json([result.to_json() for result in results])
    else:
        print_bench(results)
    if report:
        for file in cells_module.report(results, out, data):
            echo(f"wrote {file}", output.silent)
    if any(isinstance(result, FailedCell) for result in results):
        raise SystemExit(1)


def _located(file: Path, lost: list[str]) -> None:
    if lost:
        count = counted(len(lost), "edit")
        raise EditFileError(f"{file}: {count} without a place to change; mend the prompts", lost)


def _tell_shared(file: Path, rows: int, size: int, seeds: Sequence[int]) -> None:
    """Say that seeds share rows, which intervals over seeds do not know."""
    from lks.cli.console import warn

    if len(seeds) > 1 and size * len(seeds) > rows:
        warn(
            f"{file}: {counted(rows, 'row')}, so that {len(seeds)} seeds draw the same ones at "
            f"{counted(size, 'edit')}, and intervals over seeds are too narrow"
        )


def _sizes(given: str, files: dict[Path, int]) -> dict[Path, list[int]]:
    """Numbers of edits for each file, of which it has so many."""
    if not given:
        return {file: _usual(count) for file, count in files.items()}
    sizes = numbers("--sizes", given, 1)
    if few := [f"{file} has {count}" for file, count in files.items() if count < sizes[-1]]:
        raise InputError(f"--sizes {given}: {counted(sizes[-1], 'edit')} wanted, {', '.join(few)}")
    return dict.fromkeys(files, sizes)


def _usual(count: int) -> list[int]:
    return sorted({*(size for size in SIZES if size <= count), min(count, SIZES[-1])})
