"""`lks wordings`: the ways to ask for each fact, and more of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lks.cli.options import (
    EmbedderName,
    Machine,
    Output,
    check_folder,
    load_backbone,
    load_rows,
    print_json,
    write_file,
)
from lks.edits.text import counted
from lks.errors import InputError, OutputError

if TYPE_CHECKING:
    from lks.edits.edit import Edit
    from lks.model.embedder import CachedEmbedder
    from lks.training.rephrasing import Refusal
    from lks.training.wordings import Wordings


def wordings(
    facts: Annotated[Path, typer.Argument(help="File of edits: JSONL, JSON or CSV.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Write the facts with the wordings proposed for them (.jsonl)."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
    rephrase_with: Annotated[
        str | None,
        typer.Option(help="A model that is asked to rephrase prompts with few wordings."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Rephrase every prompt, however many wordings it has.")
    ] = False,
    embedder: EmbedderName = None,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Show other ways to ask for each fact, and propose some. Read them before you train."""
    if every and rephrase_with is None:
        raise InputError("--all is about --rephrase-with; name a model there too")
    _check_out(out, overwrite)
    edits = load_rows(facts)

    from lks.cli.console import echo, print_wordings
    from lks.model.embedder import DEFAULT, CachedEmbedder, Embedder
    from lks.training.wordings import with_proposed, wordings_of

    embed = CachedEmbedder(Embedder(embedder or DEFAULT))
    found, report = wordings_of(edits, embed)
    if rephrase_with is not None:
        asked = edits if every else report.few
        found = _rephrased(found, asked, embed, rephrase_with, machine, output)
    if out is not None:
        rows = with_proposed(facts, found)
        write_file(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if output.as_json:
        few = [edit.id for edit in report.few]
        print_json({"facts": [one.to_json() for one in found], "few_wordings": few})
    else:
        print_wordings(found)
    if report.few:
        echo(report.few_named(), output.silent)
    if out is not None:
        echo(f"{out}: read the new paraphrases and mend them before you train", output.silent)


def _check_out(out: Path | None, overwrite: bool) -> None:
    check_folder(out)
    if out is not None and out.suffix != ".jsonl":
        raise InputError(f"--out {out}: facts are written as JSON lines; end it in .jsonl")
    if out is not None and out.exists() and not overwrite:
        raise OutputError(f"{out}: there is a file already; choose another or --overwrite")


def _rephrased(
    found: Sequence[Wordings],
    asked: Sequence[Edit],
    embed: CachedEmbedder,
    model: str,
    machine: Machine,
    output: Output,
) -> list[Wordings]:
    """The wordings with those that a model proposes for some of the edits."""
    if not asked:
        return list(found)
    backbone = load_backbone(model, machine, quiet=output.silent)

    from lks.cli.console import echo
    from lks.training.rephrasing import Judge, answers

    told = answers(
        backbone,
        asked,
        lambda done: echo(f"rephrasing: {done} of {counted(len(asked), 'prompt')}", output.silent),
    )
    written = dict(zip(asked, told, strict=True))
    judge, refused = Judge([one.edit for one in found], embed), Counter["Refusal"]()
    more = []
    for one in found:
        kept, why = judge.kept(one, written[one.edit]) if one.edit in written else ([], Counter())
        more.append(replace(one, rephrased=tuple(kept)))
        refused += why
    taken = sum(len(one.rephrased) for one in more)
    reasons = "".join(f"; {why}: {n}" for why, n in refused.most_common())
    of = counted(taken + refused.total(), "text")
    echo(f"rephrased: {taken} of {of} taken{reasons}", output.silent)
    return more
