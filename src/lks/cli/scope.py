"""`lks scope`: what would fire in a text, and why. Needs no language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lks.cli.options import (
    Aliases,
    AsJson,
    Derived,
    EmbedderName,
    ScopeKind,
    load_edits,
    print_json,
    texts_of,
)
from lks.errors import InputError


def scope(
    source: Annotated[Path, typer.Argument(help="A pack, or a file of edits.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts to look through; none or -: lines of standard input."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Texts: plain lines, or JSONL with a key `text`.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Over a file: rates, most triggered, near misses.")
    ] = False,
    scope: ScopeKind = None,
    embedder: EmbedderName = None,
    aliases: Aliases = None,
    derived: Derived = False,
    limit: Annotated[int | None, typer.Option(help="Only the first N texts.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Show which edits a text fires, and why. Needs no model.

    With --json it prints an object a text, each on a line of its own.
    """
    from lks.scope.inspect.report import summarise
    from lks.training.scope_preview import scope_of_edits, scope_of_pack

    if report and texts is not None and len(texts) == 1 and texts != ["-"]:
        raise InputError("--report is over many texts; give --file")
    looked = texts_of(texts or [], file, ["text"], limit)
    if source.is_dir():
        if scope or embedder or aliases or derived:
            raise InputError(f"{source}: a pack has names and a scope of its own; give no others")
        found = scope_of_pack(source, looked)
    else:
        edits = load_edits(source, None, aliases, derived)
        found = scope_of_edits(edits, looked, kind=scope, embedder=embedder)
    examined = found.examine(looked)
    refused = [found.near_misses(one) for one in looked]
    if report:
        from lks.cli.console import print_scope_report

        summary = summarise(looked, examined, refused)
        print_json(summary.to_json()) if as_json else print_scope_report(summary)
        return
    if not as_json:
        from lks.cli.console import print_texts

        print_texts(looked, examined, refused)
        return
    for one, findings, misses in zip(looked, examined, refused, strict=True):
        near = [mention.to_json() | {"reason": str(reason)} for mention, reason in misses]
        mentions = [finding.to_json() for finding in findings]
        print_json({"text": one, "mentions": mentions, "near_misses": near}, indent=None)
