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
)
from lks.edits.jsonl import counted, parsed
from lks.errors import EditFileError, InputError


def scope(
    source: Annotated[Path, typer.Argument(help="A pack, or a JSONL file of edits.")],
    text: Annotated[str | None, typer.Argument(help="The text to look through.")] = None,
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
    limit: Annotated[
        int | None, typer.Option(help="Only the first N texts of --file.", min=1)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What would fire in a text, where, and why. Needs no model."""
    from lks.scope.inspect.report import summarise
    from lks.training.scope_preview import scope_of_edits, scope_of_pack

    if (text is None) == (file is None):
        raise InputError("give either a text or --file, not both and not neither")
    if report and file is None:
        raise InputError("--report is over a file of texts; give --file")
    texts = [text or ""] if file is None else _texts(file)[:limit]
    if source.is_dir():
        if scope or embedder or aliases or derived:
            raise InputError(f"{source}: a pack has names and a scope of its own; give no others")
        found = scope_of_pack(source, texts)
    else:
        edits = load_edits(source, None, aliases, derived)
        found = scope_of_edits(edits, texts, kind=scope, embedder=embedder)
    examined = found.examine(texts)
    refused = [found.near_misses(one) for one in texts]
    if report:
        from lks.cli.console import print_scope_report

        summary = summarise(texts, examined, refused)
        print_json(summary) if as_json else print_scope_report(summary)
        return
    for one, findings, misses in zip(texts, examined, refused, strict=True):
        near = [mention.to_json() | {"reason": str(reason)} for mention, reason in misses]
        mentions = [finding.to_json() for finding in findings]
        if as_json or file is not None:
            print_json({"text": one, "mentions": mentions, "near_misses": near}, indent=None)
        else:
            from lks.cli.console import print_mentions

            print_mentions(mentions, near)


def _texts(path: Path) -> list[str]:
    """Texts of a file: plain lines, or JSONL objects with `text`; bad lines are all reported."""
    try:
        # not splitlines: a text may hold other characters that end lines
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a text file") from error
    numbered = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()]
    if path.suffix.lower() != ".jsonl":
        return [line for _, line in numbered]
    texts, problems = [], []
    for number, line in numbered:
        try:
            record = parsed(line)
        except EditFileError as error:
            problems.append(f"line {number}: {error}")
            continue
        if isinstance(record, dict) and isinstance(record.get("text"), str):
            texts.append(record["text"])
        else:
            problems.append(f'line {number}: not a JSON object with a text as its "text"')
    if problems:
        raise EditFileError(f"{path}: {counted(problems)}; mend the file", problems)
    return texts
