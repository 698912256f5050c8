"""What `lks serve` does while the server answers already: the model, the store, the facts."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from lks.cli.console import echo
from lks.cli.options import Machine, load_backbone
from lks.edits.edit_set import NAMED, EditSet
from lks.edits.text import counted
from lks.errors import Conflict, LKSError

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

POLL = 0.5  # seconds between two looks at a job
LOADING_SECONDS = 3.0  # that a stop waits for what is being loaded
TOLD_EVERY = 5.0  # seconds, while facts are learnt


@dataclass
class Start:
    """What is done while the server answers already: the model, the store, the facts of files.

    Attributes:
        error: what it could not begin for; the server is stopped then.
    """

    server: Server
    model: str
    machine: Machine
    store: Path
    database: str | None
    set_name: str
    pack: Path | None
    facts: EditSet
    url: str
    self_test: bool
    quiet: bool
    make_engine: Callable[[Backbone], Engine]
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
        """Stop everything. What is being loaded, and a long epoch, cannot be stopped: then the
        process just ends, since Python may abort where a thread is in the midst of torch's work."""
        self.stop()
        self._thread.join(LOADING_SECONDS)
        busy = self._thread.is_alive()
        if self._service is not None and not busy:
            self._service.close()
            busy = self._service.busy
        if busy:
            echo("stopped", self.quiet)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    def _run(self) -> None:
        try:
            self._load()
        except LKSError as error:
            self._fail(error)
        except Exception as error:  # the server lives on, and tells
            if self._stopped.is_set():
                return
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

        from lks.model.embedder import Embedders
        from lks.serving.http.model_front import ModelFront
        from lks.serving.http.server import Backend
        from lks.serving.live import LiveService

        engine = self.make_engine(backbone)
        with self._closing:
            if self._stopped.is_set():
                return
            self._engine = engine  # a stop ends what is being started, too
        engine.start()
        test, embedders = _self_test if self.self_test else None, Embedders()
        service = LiveService(
            backbone,
            self.store,
            database=self.database,
            read_only=self.server.settings.read_only,
            test=test,
            on_epoch=self._epoch,
            embedders=embedders,
        )
        self._service = service
        name = Path(self.model).name if Path(self.model).exists() else self.model
        self.server.backend = Backend(
            name,
            engine,
            ModelFront(backbone, embedders),
            service,
            fingerprint=backbone.fingerprint.weights[:8],
            test=_Checks(backbone, engine, self.server.settings.rescan),
        )
        service.start()
        self._tell(name)
        if self.pack is not None or len(self.facts):
            self._learn(service)

    def _tell(self, name: str) -> None:
        model = f"{name}:{self.set_name}" if self.pack or len(self.facts) else name
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
        if self.pack is not None:
            self._bring_in(service, who, self.pack)
        if not len(self.facts):
            return
        came = service.import_facts(who, self.set_name, list(self.facts), reason="lks serve")
        parts = [f"{came.unchanged} in force already"] if came.unchanged else []
        parts += [f"{came.waiting} on their way already"] if came.waiting else []
        parts += [f"{came.failed} not learnt before, and not tried again"] if came.failed else []
        echo(
            ", ".join([f"set {self.set_name}: {len(came.job.facts)} to learn", *parts]), self.quiet
        )
        for job_id in [*came.earlier, *([came.job.id] if came.job.facts else [])]:
            self._follow(service, who, job_id)

    def _bring_in(self, service: LiveService, who: Caller, path: Path) -> None:
        """A pack's facts, of which nothing is trained."""
        from lks.packs.pack import Pack

        try:
            job = service.import_pack(who, self.set_name, Pack.load(path))
        except Conflict:
            echo(f"set {self.set_name} has facts already; {path} is not brought in", self.quiet)
            return
        self._follow(service, who, job.id)

    def _follow(self, service: LiveService, who: Caller, job_id: str) -> None:
        """Tell how far a job is, until it has ended."""
        from lks.serving.facts import ENDED

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
        missed = [*job.failed][:NAMED]
        more = f" and {len(job.failed) - NAMED} more" if len(job.failed) > NAMED else ""
        return f"{told}; not learnt: {', '.join(missed)}{more}; give them other wordings"


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

    def __init__(self, backbone: Backbone, engine: Engine, rescan: bool) -> None:
        self._backbone, self._engine, self._rescan = backbone, engine, rescan

    def __call__(self, snapshot: Snapshot, edits: Sequence[Edit]) -> Sequence[Mapping[str, object]]:
        from lks.evaluation.checks import by_fact, check_facts
        from lks.evaluation.runner import answer_room
        from lks.serving.served_model import ServedModel

        backbone = self._backbone
        checks = check_facts(
            ServedModel(backbone, self._engine, None),
            ServedModel(backbone, self._engine, snapshot, rescan=self._rescan),
            edits,
            lambda edit: max(32, answer_room(backbone, edit.target)),
            others=snapshot.in_force.edits.values(),
            chat=backbone.has_chat,
        )
        return [fact.to_json() for fact in by_fact(checks)]
