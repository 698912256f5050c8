"""The command line. Thin: every command imports what it needs when it runs."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from lks.cli_bench import bench
from lks.cli_common import (
    ALL_ROLES,
    DEFAULT_MODEL,
    AsJson,
    Device,
    Dtype,
    Epochs,
    LayersPath,
    Limit,
    PackPath,
    Quiet,
    Roles,
    Threads,
    load_backbone,
    load_edited,
    print_json,
    texts_of,
)
from lks.cli_eval import ability, evaluate_pack, robustness
from lks.cli_pack import pack_app
from lks.cli_scope import scope
from lks.cli_train import add, edit, layers, profiles, remove
from lks.errors import LKSError

app = typer.Typer(
    name="lks",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(pack_app, name="pack")


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"lks {version('latent-knowledge-scalpel')}")
        raise typer.Exit


@app.callback()
def common(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """Change what a language model says about an entity, without touching its weights."""


@app.command()
def demo(
    limit: Limit = None,
    epochs: Epochs = None,
    threads: Threads = None,
    seed: int = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The whole story on the embedded model: train, before and after, scores, undo."""
    from lks import demo as story

    result = story.run(
        load_backbone(DEFAULT_MODEL, "cpu", "float32", None, threads, quiet),
        limit=limit, epochs=epochs, seed=seed, quiet=quiet or as_json,
    )  # fmt: skip
    if as_json:
        print_json(result)


for command in (edit, layers, bench, add, profiles, remove, scope, ability, robustness):
    app.command()(command)
app.command("eval")(evaluate_pack)


@app.command()
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
    model: Annotated[str | None, typer.Option(help="The pack's base model, if moved.")] = None,
    plain: Annotated[bool, typer.Option(help="Not through the chat template.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 64,
    rescan: Annotated[
        bool, typer.Option("--rescan", help="Look through the answer too, as it grows.")
    ] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    layers_path: LayersPath = None,
    as_json: AsJson = False,
) -> None:
    """Ask the model before and after the edits, and see which of them fired."""
    asked = texts_of(prompts or [], file, ["prompt", "text"])

    from lks.console import print_answer
    from lks.editor import UneditedModel

    backbone, edited = load_edited(pack, model, device, dtype, layers_path, threads)
    options: dict[str, Any] = {
        "chat": backbone.has_chat and not plain, "max_new_tokens": max_new_tokens,
    }  # fmt: skip
    before = UneditedModel(backbone).generate(asked, **options)
    after = edited.generate(asked, rescan=rescan, **options)
    for prompt, old, new in zip(asked, before, after, strict=True):
        mentions = [finding.to_json() for finding in edited.examine(prompt)]
        fired = [mention for mention in mentions if mention["fired"]]
        result = {
            "prompt": prompt, "before": old, "after": new, "fired": fired, "mentions": mentions,
        }  # fmt: skip
        if as_json:
            print_json(result, indent=2 if prompts == [prompt] else None)
        else:
            print_answer(result)


@app.command()
def chat(
    pack: PackPath,
    model: Annotated[str | None, typer.Option(help="The pack's base model, if moved.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 128,
    roles: Roles = ALL_ROLES,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    layers_path: LayersPath = None,
) -> None:
    """Talk with the edited model: a line a turn, each read with all turns before it."""
    _, edited = load_edited(pack, model, device, dtype, layers_path, threads, roles=roles)
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


def main() -> None:
    """Run the command line; an LKSError becomes one line on standard error."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app()
    except LKSError as error:
        for problem in getattr(error, "problems", []):
            print(problem, file=sys.stderr)
        print(f"lks: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _show_warning(message: Any, category: Any, *place: Any) -> None:
    print(f"lks: warning: {message}", file=sys.stderr)
