"""`lks serve`: a model with facts that can be changed while it answers, over HTTP."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Annotated

import typer

from lks.cli.console import echo
from lks.cli.options import (
    DEFAULT_MODEL,
    Machine,
    Model,
    Quiet,
    SelfTesting,
    each,
    load_backbone,
    load_rows,
)
from lks.edits.edit_set import EditSet, named_edits
from lks.edits.text import counted
from lks.errors import Conflict, InputError, LKSError, MissingExtra

if TYPE_CHECKING:
    from lks.editors.lks.model import ScalpelModel
    from lks.edits.edit import Edit
    from lks.model.backbone import Backbone
    from lks.serving.facts import Caller, Job
    from lks.serving.http.server import Server
    from lks.serving.live import LiveService
    from lks.serving.protocol import Engine
    from lks.serving.service import Snapshot
    from lks.training.progress import Epoch

STORE = Path("lks-store")
POLL = 0.5  # seconds between two looks at a job
LOADING_SECONDS = 3.0  # that a stop waits for what is being loaded
TOLD_EVERY = 5.0  # seconds, while facts are learnt


def serve(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of facts for the set: JSONL, JSON or CSV.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    store: Annotated[Path, typer.Option(help="Folder of facts, versions and keys.")] = STORE,
    set_name: Annotated[
        str, typer.Option("--set", help="The set that the files' facts belong to.")
    ] = "default",
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

    facts = _facts(files or [], demo)
    if read_only and len(facts):
        raise InputError("--read-only changes nothing; leave out the files of facts")
    local = is_loopback(host)
    if not local:
        _check_keys(host, store)
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
        hosts=LOCAL_NAMES if local else (),
    )
    logging.basicConfig(level=logging.WARNING, format="lks: %(message)s", stream=sys.stderr)
    server = Server(settings)
    shown = host if ":" not in host else f"[{host}]"
    start = _Start(
        server,
        model,
        machine,
        store,
        set_name,
        facts,
        f"http://{shown}:{at.getsockname()[1]}",
        self_test=self_test,
        quiet=quiet,
    )
    echo(f"{start.url}/health answers; loading the model ...", quiet)
    run(make_app(server), at, start.begin, start.stop)
    server.close()
    start.close()
    if start.error is not None:
        raise start.error
    echo("stopped", quiet)


def _facts(files: Sequence[Path], demo: bool) -> EditSet:
    """The facts of all files, read before anything is loaded."""
    if demo:
        from lks.cli import demo as story

        return EditSet([*story.facts()[: story.FACTS], *_facts(files, demo=False)])
    return EditSet(edit for edits in each(load_rows, files).values() for edit in edits)


def _check_keys(host: str, store: Path) -> None:
    """InputError if everybody who reaches the server might change its facts."""
    from lks.serving.store.database import Database
    from lks.serving.store.keys import any_keys

    database = Database(store)
    try:
        with database.reading() as session:
            if any_keys(session):
                return
    finally:
        database.close()
    raise InputError(
        f"--host {host} lets others in, and there are no API keys; make one first: "
        f"lks keys add NAME --store {store}"
    )


@dataclass
class _Start:
    """What is done while the server answers already: the model, the store, the facts of files.

    Attributes:
        error: what it could not begin for; the server is stopped then.
    """

    server: Server
    model: str
    machine: Machine
    store: Path
    set_name: str
    facts: EditSet
    url: str
    self_test: bool
    quiet: bool
    error: LKSError | None = None
    _engine: Engine | None = None
    _service: LiveService | None = None
    _stopped: Event = field(default_factory=Event)
    _told: float = 0.0
    _closing: Lock = field(default_factory=Lock)
    _thread: Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = Thread(target=self._run, name="lks-start", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Texts that are being written end, so that the server need not wait for them."""
        self._stopped.set()
        with self._closing:
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def close(self) -> None:
        """Stop everything. What is being loaded cannot be stopped: then the process just ends."""
        self.stop()
        self._thread.join(LOADING_SECONDS)
        if self._thread.is_alive():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        if self._service is not None:
            self._service.close()

    def _run(self) -> None:
        try:
            self._load()
        except LKSError as error:
            self._fail(error)
        except Exception as error:  # the server lives on, and tells
            logging.getLogger("lks.serving").exception("the start failed")
            self._fail(LKSError(f"the start failed: {error}"))

    def _fail(self, error: LKSError) -> None:
        if self._stopped.is_set():
            return
        self.error = error
        self.server.failed = str(error)
        signal.raise_signal(signal.SIGINT)

    def _load(self) -> None:
        backbone = load_backbone(self.model, self.machine, quiet=self.quiet)
        if self._stopped.is_set():
            return

        from lks.serving.http.model_front import ModelFront
        from lks.serving.http.server import Backend
        from lks.serving.live import LiveService
        from lks.serving.transformers_engine import TransformersEngine

        engine = TransformersEngine(backbone)
        engine.start()
        self._engine = engine
        test = _self_test if self.self_test else None
        service = LiveService(
            backbone,
            self.store,
            read_only=self.server.settings.read_only,
            test=test,
            on_epoch=self._epoch,
        )
        self._service = service
        name = Path(self.model).name if Path(self.model).exists() else self.model
        self.server.backend = Backend(
            name,
            engine,
            ModelFront(backbone),
            service,
            fingerprint=backbone.fingerprint.weights[:8],
            test=_Checks(backbone, engine),
        )
        service.start()
        self._tell(name)
        if len(self.facts):
            self._learn(service)

    def _tell(self, name: str) -> None:
        model = f"{name}:{self.set_name}" if len(self.facts) else name
        asked = "Hello!"
        if len(self.facts):
            first = self.facts[0]
            asked = next(iter(first.paraphrases), first.prompt)
        body = {"model": model, "messages": [{"role": "user", "content": asked}]}
        told = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
        print(
            f"{name} is served at {self.url} (page; /docs has the API). Ask it:\n"
            f"  curl {self.url}/v1/chat/completions -H 'content-type: application/json' -d '{told}'"
            f'\n  openai.OpenAI(base_url="{self.url}/v1", api_key="-").chat.completions.create('
            f"**{json.dumps(body, ensure_ascii=False)})",
            flush=True,
        )

    def _learn(self, service: LiveService) -> None:
        from lks.serving.facts import Caller, Role
        from lks.serving.store.keys import LOCAL

        who = Caller(LOCAL, Role.ADMIN, "lks serve")
        with suppress(Conflict):  # it is there
            service.create_set(who, self.set_name)
        came = service.import_facts(who, self.set_name, list(self.facts), reason="lks serve")
        parts = [f"{came.unchanged} in force already"] if came.unchanged else []
        parts += [f"{came.failed} not learnt before, and not tried again"] if came.failed else []
        echo(
            ", ".join([f"set {self.set_name}: {len(came.job.facts)} to learn", *parts]), self.quiet
        )
        if came.job.facts:
            self._follow(service, who, came.job.id)

    def _follow(self, service: LiveService, who: Caller, job_id: str) -> None:
        """Tell how far a job is, until it has ended."""
        from lks.serving.live import ENDED

        began = time.monotonic()
        while not self._stopped.wait(POLL):
            job = service.job(who, job_id)
            if job.state in ENDED:
                echo(self._ended(job, time.monotonic() - began), self.quiet)
                return

    def _epoch(self, epoch: Epoch) -> None:
        """Tell how far training is, now and then."""
        now = time.monotonic()
        if now - self._told > TOLD_EVERY:
            self._told = now
            echo(f"learning: epoch {epoch.number} of {epoch.of}", self.quiet)

    def _ended(self, job: Job, seconds: float) -> str:
        come = len(job.facts) - len(job.failed)
        told = f"set {self.set_name}: {counted(come, 'fact')} in force after {seconds:.0f} s"
        if not job.failed:
            return told
        missed = [self.facts.by_id(fact) for fact in job.failed]
        return f"{told}; not learnt: {named_edits(missed)}; give them other wordings"


def _self_test(model: ScalpelModel, edits: Sequence[Edit]) -> Mapping[str, Sequence[str]]:
    """Wordings that training did not see and that fail, by fact."""
    from lks.evaluation.self_test import self_test
    from lks.training.config import TrainingConfig

    config = TrainingConfig.from_pack(model.pack.training.config)
    pool = list(model.in_force.edits.values())
    found = self_test(
        model, model.backbone, edits, config, pool=pool, embedder=model.embedder, retrain=False
    )
    return found.tested


class _Checks:
    """Runs the checks of facts on what the engine writes."""

    def __init__(self, backbone: Backbone, engine: Engine) -> None:
        self._backbone, self._engine = backbone, engine

    def __call__(self, snapshot: Snapshot, edits: Sequence[Edit]) -> Sequence[Mapping[str, object]]:
        from lks.evaluation.checks import by_fact, check_facts
        from lks.evaluation.runner import answer_room
        from lks.serving.served_model import ServedModel

        backbone = self._backbone
        checks = check_facts(
            ServedModel(backbone, self._engine, None),
            ServedModel(backbone, self._engine, snapshot),
            edits,
            lambda edit: max(32, answer_room(backbone, edit.target)),
            others=snapshot.in_force.edits.values(),
            chat=backbone.has_chat,
        )
        return [fact.to_json() for fact in by_fact(checks)]
