"""`lks diff` and `lks export`: facts as files. No model is needed."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from lks.cli.options import AsJson, check_folder, each, print_json, write_file
from lks.edits.edit_set import EditSet
from lks.edits.export import FORMATS
from lks.edits.text import counted, encodable
from lks.errors import EditFileError, InputError

SOURCE = "A pack, a version of it (facts.pack@3), or a file of facts."


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help=SOURCE)],
    after: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    as_json: AsJson = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as for a pull request.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit code 1 if there is a difference.")
    ] = False,
) -> None:
    """Show the facts that were added, changed and retired from A to B. Needs no model.

    Facts belong together by their id, else by subject and prompt.
    """
    from lks.edits import diff as comparison

    if as_json and markdown:
        raise InputError("give --json or --markdown, not both")
    one, other = _loaded([before, after])
    found = comparison.diff(one, other)
    if as_json:
        print_json(found.to_json())
    elif markdown:
        print(encodable(found.to_markdown()), end="")
    else:
        from lks.cli.console import print_diff

        print_diff(found)
    if exit_code and found:
        raise typer.Exit(1)


def export(
    sources: Annotated[list[str], typer.Argument(help=SOURCE)],
    kind: Annotated[
        str | None,
        typer.Option("--format", help="jsonl, csv or markdown; by the ending of --out, or jsonl."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File; else standard output.")] = None,
) -> None:
    """Write facts as a file that lks edit reads again, or as Markdown for people. Needs no model.

    Several sources make one file.
    """
    endings = {".csv": "csv", ".md": "markdown"}
    kind = kind or endings.get(out.suffix.lower() if out else "", "jsonl")
    if kind not in FORMATS:
        raise InputError(f'--format "{kind}": unknown; one of {", ".join(FORMATS)}')
    check_folder(out)
    text = FORMATS[kind](_joined(sources))
    if out is None:
        print(encodable(text), end="")
    else:
        write_file(out, text)


def _loaded(sources: list[str]) -> list[EditSet]:
    """The facts of each source; what was left out of a file is told."""
    from lks.cli.console import warn
    from lks.packs.sources import edits_of

    found = each(edits_of, sources)
    for source, edits in found.items():
        if edits.conflicts:
            warn(f"{source}: {edits.conflicts}")
    return [found[source] for source in sources]


def _joined(sources: list[str]) -> EditSet:
    """The facts of all sources; EditFileError where two have one id."""
    from lks.cli.console import warn

    if len(sources) == 1:
        return _loaded(sources)[0]
    try:
        edits = EditSet(chain(*_loaded(sources)))
    except EditFileError as error:
        told = counted(len(error.problems), "id")
        raise EditFileError(
            f"{told} in more than one source; rename them", error.problems
        ) from None
    if edits.conflicts:
        warn(str(edits.conflicts))
    return edits
