"""`lks ask` and `lks chat`: before and after, side by side."""

from __future__ import annotations

import sys
from itertools import compress
from pathlib import Path
from typing import Annotated, Any

import typer

from lks.cli.options import (
    ALL_ROLES,
    AsJson,
    Machine,
    PackModel,
    PackPath,
    Roles,
    load_edited,
    print_json,
    texts_of,
)


def ask(
    pack: PackPath,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(help="What to ask; none or -: lines of standard input, a prompt each."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Prompts: plain lines, or JSONL with a key `prompt` or `text`."),
    ] = None,
    model: PackModel = None,
    plain: Annotated[bool, typer.Option(help="Not through the chat template.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 64,
    rescan: Annotated[
        bool | None,
        typer.Option(help="Look through the answer too, as it grows; on where the model can."),
    ] = None,
    machine: Machine = Machine(),
    as_json: AsJson = False,
) -> None:
    """Ask the model before and after the edits, and see which of them fired."""
    asked = texts_of(prompts or [], file, ["prompt", "text"])

    backbone, edited = load_edited(pack, model, machine)

    from lks.cli.console import print_answer
    from lks.editors.unedited import UneditedModel

    options: dict[str, Any] = {
        "chat": backbone.has_chat and not plain,
        "max_new_tokens": max_new_tokens,
    }
    rescan = backbone.kind == "decoder" if rescan is None else rescan
    after = edited.respond(asked, rescan=rescan, **options)
    # Where nothing fired, the answer is the unedited model's, bit for bit.
    touched = [bool(answer.fired) for answer in after]
    again = list(compress(asked, touched))
    unedited = iter(UneditedModel(backbone).generate(again, **options) if again else [])
    before = [next(unedited) if own else a.text for a, own in zip(after, touched, strict=True)]
    for prompt, old, new in zip(asked, before, after, strict=True):
        if not as_json:
            print_answer(prompt, old, new)
            continue
        mentions = [finding.to_json() for finding in new.findings]
        fired = [mention for mention in mentions if mention["fired"]]
        result = {
            "prompt": prompt,
            "before": old,
            "after": new.text,
            "fired": fired,
            "mentions": mentions,
        }
        print_json(result, indent=2 if prompts == [prompt] else None)


def chat(
    pack: PackPath,
    model: PackModel = None,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 128,
    roles: Roles = ALL_ROLES,
    machine: Machine = Machine(),
) -> None:
    """Talk with the edited model: a line a turn, each read with all turns before it."""
    _, edited = load_edited(pack, model, machine, roles=roles)
    turns: list[dict[str, str]] = []
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            said = input(prompt).strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not said:
            continue
        turns.append({"role": "user", "content": said})
        (answer,) = edited.generate([turns], chat=True, max_new_tokens=max_new_tokens, rescan=True)
        turns.append({"role": "assistant", "content": answer})
        print(answer)
