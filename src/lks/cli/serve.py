"""`lks serve`: a model with facts that can be changed while it answers, over HTTP."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lks.cli.console import echo
from lks.cli.engines import EngineName, engine_maker
from lks.cli.keys import STORE, opened
from lks.cli.options import (
    DEFAULT_MODEL,
    Machine,
    Quiet,
    SelfTesting,
    each,
    load_rows,
)
from lks.cli.serve_start import Start
from lks.edits.edit_set import EditSet
from lks.errors import InputError, MissingExtra


def serve(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Facts for the set: files (JSONL, JSON or CSV), or one trained pack."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A name of `lks models`, a folder, a GGUF file, or a hub id; the pack's own, or "
            "smollm2-135m, if not given."
        ),
    ] = None,
    store: Annotated[Path, typer.Option(help="Folder of facts, versions and keys.")] = Path(STORE),
    database: Annotated[
        str | None, typer.Option(help="Address of a PostgreSQL database; else SQLite in --store.")
    ] = None,
    set_name: Annotated[
        str, typer.Option("--set", help="The set that the files' facts belong to.")
    ] = "default",
    engine: Annotated[
        EngineName, typer.Option(help="What writes: transformers, or vLLM in processes of its own.")
    ] = EngineName.TRANSFORMERS,
    tensor_parallel: Annotated[
        int, typer.Option(help="GPUs that vLLM splits the model over.", min=1)
    ] = 1,
    engine_args: Annotated[
        str | None, typer.Option(help="Further options of vLLM, as a JSON object.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; another than this machine's needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    max_tokens: Annotated[
        int, typer.Option(help="Most tokens that a request may ask for.", min=1)
    ] = 1024,
    max_waiting: Annotated[
        int, typer.Option(help="Requests that may wait; more are refused.", min=1)
    ] = 64,
    keep_prompts: Annotated[
        bool, typer.Option("--keep-prompts", help="Show texts of near misses in the traffic.")
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Change nothing; follow the server that writes.")
    ] = False,
    rescan: Annotated[
        bool, typer.Option(help="Look through what the model writes too, as it grows.")
    ] = True,
    demo: Annotated[
        bool, typer.Option("--demo", help="Serve the facts of lks demo; no file is needed.")
    ] = False,
    self_test: SelfTesting = True,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print a line of JSON for each request.")
    ] = False,
    quiet: Quiet = False,
    machine: Machine = Machine(),
) -> None:
    """Serve a model with OpenAI's API, and facts that are changed while it answers.

    The server answers at once; the unedited model as soon as it is loaded; facts when they are
    learnt. Ctrl-C ends it. What was changed is kept in the store.
    """
    for package in ("alembic", "fastapi", "prometheus_client", "sqlalchemy", "uvicorn"):
        if find_spec(package) is None:
            raise MissingExtra("lks serve", ModuleNotFoundError(name=package), "serve")
    from lks.serving.address import LOCAL_NAMES, bound, is_loopback

    make_engine = engine_maker(engine, tensor_parallel, engine_args)
    pack, own_model = _pack([file for file in files or [] if file.is_dir()])
    facts = _facts([file for file in files or [] if not file.is_dir()], demo)
    if read_only and (pack or len(facts)):
        raise InputError("--read-only changes nothing; leave out the files of facts")
    local = is_loopback(host)
    if not local:
        _check_keys(host, store, database)
    at = bound(host, port)

    from lks.serving.http.app import make_app
    from lks.serving.http.run import run
    from lks.serving.http.server import Server, Settings

    settings = Settings(
        max_tokens=max_tokens,
        max_waiting=max_waiting,
        keep_prompts=keep_prompts,
        read_only=read_only,
        verbose=verbose,
        rescan=rescan,
        hosts=LOCAL_NAMES if local else (),
    )
    logging.basicConfig(level=logging.WARNING, format="lks: %(message)s", stream=sys.stderr)
    server = Server(settings)
    shown = host if ":" not in host else f"[{host}]"
    start = Start(
        server,
        model or own_model,
        machine,
        store,
        database,
        set_name,
        pack,
        facts,
        f"http://{shown}:{at.getsockname()[1]}",
        self_test=self_test,
        quiet=quiet,
        make_engine=make_engine,
    )
    echo(f"{start.url}/health answers; loading the model ...", quiet)
    run(make_app(server), at, start.begin, start.stop)
    server.close()
    start.close()
    if start.error is not None:
        raise start.error
    echo("stopped", quiet)


def _pack(packs: Sequence[Path]) -> tuple[Path | None, str]:
    """The one pack, if there is one, and the name of its model, else of the default one."""
    from lks.packs.manifest import verify

    if len(packs) > 1:
        raise InputError(f"{len(packs)} packs; a set is begun with one, so give one")
    return (packs[0], verify(packs[0]).base_model.name) if packs else (None, DEFAULT_MODEL)


def _facts(files: Sequence[Path], demo: bool) -> EditSet:
    """The facts of all files, read before anything is loaded."""
    if demo:
        from lks.cli import demo as story

        return EditSet([*story.facts()[: story.FACTS], *_facts(files, demo=False)])
    return EditSet(edit for edits in each(load_rows, files).values() for edit in edits)


def _check_keys(host: str, store: Path, address: str | None) -> None:
    """InputError if everybody who reaches the server might change its facts."""
    from lks.serving.store.database import FILE
    from lks.serving.store.keys import any_keys

    if address is not None or (store / FILE).is_file():
        with opened(store, address) as found, found.reading() as session:
            if any_keys(session):
                return
    raise InputError(
        f"--host {host} lets others in, and there are no API keys; make one first: "
        f"lks keys add NAME --store {store}"
    )
