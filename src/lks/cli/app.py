"""The command line. Thin: every command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer

from lks.cli.ask import ask, chat
from lks.cli.bench import bench
from lks.cli.change import add, profiles, remove
from lks.cli.check import check_pack
from lks.cli.evaluate import ability, evaluate_pack, robustness
from lks.cli.facts import diff, export
from lks.cli.keys import keys_app
from lks.cli.models import models
from lks.cli.options import (
    DEFAULT_MODEL,
    Epochs,
    Limit,
    Machine,
    Output,
    Threads,
    load_backbone,
    print_json,
    with_options,
)
from lks.cli.pack import pack_app
from lks.cli.scope import scope
from lks.cli.self_test import self_test
from lks.cli.serve import serve
from lks.cli.train import edit, layers
from lks.cli.wordings import wordings
from lks.errors import LKSError

app = typer.Typer(
    name="lks",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(pack_app, name="pack")
app.add_typer(keys_app, name="keys")


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
@with_options
def demo(
    limit: Limit = None,
    epochs: Epochs = None,
    threads: Threads = None,
    seed: int = 0,
    output: Output = Output(),
) -> None:
    """See it work on the default model: train, before and after, scores, undo."""
    from lks.cli import demo as story

    result = story.run(
        load_backbone(DEFAULT_MODEL, Machine("cpu", "float32", threads), quiet=output.quiet),
        limit=limit,
        epochs=epochs,
        seed=seed,
        quiet=output.silent,
    )
    if output.as_json:
        print_json(result.to_json())


for function in (
    *(edit, self_test, wordings, layers, bench, add, profiles, remove),
    *(scope, ability, robustness, ask, chat, diff, export, serve),
):
    app.command()(with_options(function))
app.command()(models)
app.command("eval")(with_options(evaluate_pack))
app.command("test")(with_options(check_pack))


SPINS = (
    "5000"  # of a thread that waits for others, before it sleeps; GNU OpenMP's own is 60 times that
)


def main() -> None:
    """Run the command line; an LKSError becomes one line on standard error."""
    if "OMP_WAIT_POLICY" not in os.environ:  # before torch is loaded, which reads it once
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app()
    except LKSError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        print(f"lks: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _show_warning(message: Warning | str, *where: object) -> None:
    print(f"lks: warning: {message}", file=sys.stderr)
