"""The commands that score: eval, ability, robustness."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Sized
from functools import partial
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from lks.cli.options import (
    Limit,
    Machine,
    MaxNewTokens,
    Output,
    PackModel,
    PackPath,
    Strict,
    check_folder,
    each,
    load_edited,
    load_rows,
    print_json,
    write_file,
)
from lks.edits.edit_set import NAMED, named_pairs
from lks.edits.text import counted
from lks.errors import InputError, NotLearnt

if TYPE_CHECKING:
    from lks.edits.edit import Edit
    from lks.evaluation.results import Probe
    from lks.evaluation.runner import Evaluation


ANSWER_SHOWN = 60  # characters


def evaluate_pack(
    pack: PackPath,
    data: Annotated[Path, typer.Option(help="File of edits with held-out prompts.")],
    model: PackModel = None,
    chat: Annotated[bool, typer.Option(help="Ask through the chat template.")] = False,
    limit: Limit = None,
    max_new_tokens: MaxNewTokens = 32,
    out: Annotated[
        Path | None, typer.Option(help="Report: .html, or .json with every case.")
    ] = None,
    strict: Strict = False,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Score a pack: reliability, generality, locality.

    A fact does not hold if the model, asked its own prompt or a held-out paraphrase, writes an
    answer without its target.
    """
    if out is not None and out.suffix not in (".html", ".json"):
        raise InputError(f"--out {out}: unknown kind of report; end it in .html or .json")
    check_folder(out)
    rows = load_rows(data, limit)
    backbone, edited = load_edited(pack, model, machine, quiet=output.quiet)
    tell_absent(rows, edited.pack.edits)

    from lks.cli.console import echo, print_scores, warn
    from lks.editors.unedited import UneditedModel
    from lks.evaluation.runner import answer_limit, evaluate

    result = evaluate(
        UneditedModel(backbone),
        edited,
        rows,
        chat=chat,
        max_new_tokens=answer_limit(backbone, rows, max_new_tokens),
        contradicted=edited.contradicted(rows),
        on_stage=lambda stage: echo(f"{stage} ...", output.quiet),
    )
    if out is not None:
        write_file(out, _report(out, result))
    summary, failing = result.summary(), result.failing()
    if output.as_json:
        prompts = {edit_id: [p.prompt for p in probes] for edit_id, probes in failing.items()}
        print_json({**summary.to_json(), "failing": prompts})
    else:
        print_scores(summary)
    if failing:
        told = f"{pack}: {_share(failing, rows)} not hold: {_named(failing)}"
        if strict:
            raise NotLearnt(told)
        warn(told)


def ability(
    pack: PackPath,
    files: Annotated[list[Path], typer.Argument(help="Tasks: sst2.jsonl, mmlu.jsonl, ...")],
    model: PackModel = None,
    limit: Annotated[int, typer.Option(help="Most items of a task.", min=1)] = 100,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """General abilities before and after the edits, and how many prompts fired one."""
    from lks.evaluation.ability import compare, load

    tasks = list(each(partial(load, limit=limit), files).values())
    backbone, edited = load_edited(pack, model, machine, quiet=output.quiet)

    from lks.cli.console import echo, print_abilities
    from lks.editors.unedited import UneditedModel

    found = []
    for task in tasks:
        echo(f"{task.name} ...", output.quiet)
        found.append(compare(UneditedModel(backbone), edited, task))
    print_json([row.to_json() for row in found]) if output.as_json else print_abilities(found)


def robustness(
    pack: PackPath,
    data: Annotated[Path, typer.Option(help="File of the edits to ask for.")],
    model: PackModel = None,
    chat: Annotated[bool, typer.Option(help="Ask through the chat template.")] = False,
    limit: Annotated[int, typer.Option(help="Most questions of a kind.", min=1)] = 50,
    max_new_tokens: MaxNewTokens = 32,
    out: Annotated[Path | None, typer.Option(help="JSON with every question and answer.")] = None,
    seed: int = 0,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Hard questions: other text before, second turns, misspellings, negations, two entities."""
    from lks.evaluation import robustness as hard

    check_folder(out)
    rows = load_rows(data)
    asked = hard.cases(rows, limit=limit, seed=seed)
    backbone, edited = load_edited(pack, model, machine, quiet=output.quiet)
    tell_absent(rows, edited.pack.edits)
    if not backbone.has_chat:
        asked = [case for case in asked if len(case.turns) == 1]

    from lks.cli.console import print_robustness
    from lks.editors.unedited import UneditedModel
    from lks.evaluation.runner import answer_limit

    most = answer_limit(backbone, rows, max_new_tokens)
    found = hard.compare(UneditedModel(backbone), edited, asked, chat=chat, max_new_tokens=most)
    if out is not None:
        told = [row.to_json() for row in found]
        write_file(out, json.dumps(told, ensure_ascii=False, indent=2) + "\n")
    print_json([row.shares() for row in found]) if output.as_json else print_robustness(found)


def _report(out: Path, result: Evaluation) -> str:
    from lks.evaluation.report import to_html

    if out.suffix == ".html":
        return to_html(result.summary(), result.probes)
    return json.dumps(result.to_json(), ensure_ascii=False, indent=2)


def _share(failing: Sized, rows: Sized) -> str:
    return f"{len(failing)} of {counted(len(rows), 'fact')} {'does' if len(failing) == 1 else 'do'}"


def _named(failing: Mapping[str, Sequence[Probe]]) -> str:
    """The first facts that do not hold, with a prompt and the answer, and how many more."""
    named = [
        f'{edit_id} ("{first.prompt}" -> "{shorten(first.after, ANSWER_SHOWN)}")'
        for edit_id, (first, *_) in islice(failing.items(), NAMED)
    ]
    return "; ".join(named) + (f" and {len(failing) - NAMED} more" if len(failing) > NAMED else "")


def tell_absent(rows: Sequence[Edit], held: Sequence[Edit]) -> None:
    """Warn of rows that are not in force, whose low scores say nothing of the pack."""
    from lks.cli.console import warn

    known = {(edit.question, edit.target) for edit in held}
    others = [row for row in rows if (row.question, row.target) not in known]
    by_id = {edit.id: edit for edit in held}
    by_question = {edit.question: edit for edit in held}
    pairs = [(row, by_id.get(row.id) or by_question.get(row.question)) for row in others]
    differ = [_difference(row, own) for row, own in pairs if own]
    absent = [row.id for row, own in pairs if not own]
    of = f"of {counted(len(rows), 'row')}"
    if differ:
        told = f"{of} {len(differ)} other than in the pack, and scored as they stand in the file"
        warn(named_pairs(told, differ))
    if absent:
        told = f"{of} {len(absent)} not in the pack, and scored all the same"
        warn(f"{told}: {', '.join(absent[:NAMED])}{', ...' * (len(absent) > NAMED)}")


def _difference(row: Edit, held: Edit) -> str:
    """In what a row is another fact than the edit in force with its id or its prompt."""
    keys = [key for key in ("target", "prompt") if getattr(row, key) != getattr(held, key)]
    key = next(iter(keys), "subject")
    here, there = (shorten(getattr(edit, key), ANSWER_SHOWN) for edit in (row, held))
    name = row.id if row.id == held.id else f"{row.id} ({held.id} in the pack)"
    return f'{name}: {key} "{here}", in the pack "{there}"'
