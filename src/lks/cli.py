"""The command line. Thin: every command imports what it needs when it runs."""

from __future__ import annotations

import json
import sys
import warnings
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
    LayersPath,
    Limit,
    PackPath,
    Quiet,
    Roles,
    Threads,
    load_backbone,
    load_edited,
    print_json,
)
from lks.cli_pack import pack_app
from lks.cli_scope import scope
from lks.cli_train import add, edit, layers, profiles, remove
from lks.errors import InputError, LKSError

app = typer.Typer(
    name="lks",
    help="Change what a language model says about an entity, without touching its weights.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(pack_app, name="pack")


@app.command()
def demo(
    limit: Limit = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of training.", min=1)] = None,
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


for command in (edit, layers, bench, add, profiles, remove, scope):
    app.command()(command)


@app.command()
def ask(
    pack: PackPath,
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
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
    from lks.editor import UneditedModel

    backbone, edited = load_edited(pack, model, device, dtype, layers_path, threads)
    options: dict[str, Any] = {
        "chat": backbone.has_chat and not plain, "max_new_tokens": max_new_tokens,
    }  # fmt: skip
    mentions = [finding.to_json() for finding in edited.examine(prompt)]
    result = {
        "prompt": prompt,
        "before": UneditedModel(backbone).generate([prompt], **options)[0],
        "after": edited.generate([prompt], rescan=rescan, **options)[0],
        "fired": [mention for mention in mentions if mention["fired"]],
        "mentions": mentions,
    }
    if as_json:
        print_json(result)
    else:
        from lks.console import print_answer

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


@app.command("eval")
def evaluate_pack(
    pack: PackPath,
    data: Annotated[Path, typer.Option(help="JSONL file of edits with held-out prompts.")],
    model: Annotated[str | None, typer.Option(help="The pack's base model, if moved.")] = None,
    chat: Annotated[bool, typer.Option(help="Ask through the chat template.")] = False,
    limit: Limit = None,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 32,
    out: Annotated[Path | None, typer.Option(help="Report: .html, or .json with cases.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    layers_path: LayersPath = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Reliability, generality, locality: teacher-forced and free-running."""
    from lks.edits import EditSet

    if out is not None and out.suffix not in (".html", ".json"):
        raise InputError(f"--out {out}: unknown kind of report; end it in .html or .json")
    rows = EditSet.load(data, limit=limit)
    backbone, edited = load_edited(pack, model, device, dtype, layers_path, threads, quiet)

    from lks.console import print_scores, say
    from lks.editor import UneditedModel
    from lks.evaluation.runner import evaluate

    result = evaluate(
        UneditedModel(backbone), edited, rows, chat=chat, max_new_tokens=max_new_tokens,
        on_stage=lambda stage: say(f"{stage} ...", quiet),
    )  # fmt: skip
    if out is not None:
        _write_report(out, result.to_json())
    if as_json:
        print_json(result.summary())
    else:
        print_scores(result.summary())


@app.command()
def ability(
    pack: PackPath,
    files: Annotated[list[Path], typer.Argument(help="Tasks: sst2.jsonl, mmlu.jsonl, ...")],
    model: Annotated[str | None, typer.Option(help="The pack's base model, if moved.")] = None,
    limit: Annotated[int, typer.Option(help="Items of a task at most.", min=1)] = 100,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    layers_path: LayersPath = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """General abilities before and after the edits, and how many prompts fired one."""
    from lks.evaluation.ability import compare, load

    tasks = [load(file, limit=limit) for file in files]
    backbone, edited = load_edited(pack, model, device, dtype, layers_path, threads, quiet)

    from lks.console import print_abilities, say
    from lks.editor import UneditedModel

    found = []
    for task in tasks:
        say(f"{task.name} ...", quiet or as_json)
        found.append(compare(UneditedModel(backbone), edited, task))
    print_json(found) if as_json else print_abilities(found)


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


def _write_report(out: Path, evaluation: dict[str, Any]) -> None:
    from lks.errors import OutputError
    from lks.evaluation.report import to_html

    html = out.suffix == ".html"
    text = to_html(evaluation) if html else json.dumps(evaluation, ensure_ascii=False, indent=2)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror}); choose another place"
        ) from error
