"""`lks test`: the checks that facts bring themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lks.cli.evaluate import tell_absent
from lks.cli.options import (
    Machine,
    MaxNewTokens,
    Output,
    PackModel,
    PackPath,
    check_folder,
    each,
    load_edited,
    load_rows,
    print_json,
    write_file,
)
from lks.edits.edit_set import EditSet
from lks.edits.profiles import in_force
from lks.errors import InputError

if TYPE_CHECKING:
    from lks.edits.edit import Edit
    from lks.evaluation.results import FactCheck


def check_pack(
    pack: PackPath,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of facts whose checks are run; else those of the pack's facts."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this fact; may be repeated.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="JUnit report for CI, XML.")] = None,
    plain: Annotated[bool, typer.Option(help="Not through the chat template.")] = False,
    max_new_tokens: MaxNewTokens = 32,
    model: PackModel = None,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Run the checks that facts bring themselves; exit code 1 if one fails.

    The prompt, the paraphrases and the held-out ones must be answered with the target. Locality
    questions must be answered as by the unedited model. Each of a fact's "tests" must be answered
    with what it must contain, and without what it must not contain.
    """
    from lks.packs.manifest import live_edits, verify

    check_folder(junit)
    manifest = verify(pack)
    held = in_force(live_edits(pack, manifest))
    rows = list(_rows(files)) if files else held
    chosen = _chosen(rows, only)
    if files:
        tell_absent(chosen, held)
    backbone, edited = load_edited(pack, model, machine, quiet=output.silent)

    from lks.cli.console import echo, print_checks
    from lks.editors.unedited import UneditedModel
    from lks.evaluation.checks import by_fact, check_facts
    from lks.evaluation.runner import answer_room

    chat, started = backbone.has_chat and not plain, time.monotonic()
    checks = check_facts(
        UneditedModel(backbone),
        edited,
        chosen,
        lambda edit: max(max_new_tokens, answer_room(backbone, edit.target)),
        others=held,
        chat=chat,
        on_stage=lambda stage: echo(f"{stage} ...", output.silent),
    )
    seconds = time.monotonic() - started
    if junit is not None:
        _write_junit(junit, checks, pack, seconds)
    failed = [check for check in checks if not check.passed]
    if output.as_json:
        told = {
            "pack": str(pack),
            "version": manifest.version,
            "chat": chat,
            "passed": len(checks) - len(failed),
            "failed": len(failed),
            "seconds": round(seconds, 1),
            "data": [fact.to_json() for fact in by_fact(checks)],
        }
        print_json(told)
    else:
        print_checks(str(pack), checks)
    if failed:
        raise typer.Exit(1)


def _rows(files: Sequence[Path]) -> EditSet:
    """The facts of all files."""
    return EditSet(edit for edits in each(load_rows, files).values() for edit in edits)


def _chosen(rows: Sequence[Edit], only: Sequence[str] | None) -> list[Edit]:
    """The facts to check; InputError if there are none, or one that was asked for is not there."""
    known = {edit.id for edit in rows}
    if unknown := [f'"{edit_id}"' for edit_id in only or () if edit_id not in known]:
        raise InputError(f"--only: no fact {', '.join(unknown)}; lks pack edits lists the ids")
    chosen = [edit for edit in rows if not only or edit.id in only]
    if not chosen:
        raise InputError("no facts in force, so nothing to test; lks add brings some")
    return chosen


def _write_junit(out: Path, checks: Sequence[FactCheck], pack: Path, seconds: float) -> None:
    from lks.evaluation.junit import to_junit

    write_file(out, to_junit(checks, pack.name, seconds))
