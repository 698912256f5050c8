"""The page over a real store and a real scope; only the model's words are made up.

A random model says nothing that could be read. So the engine writes the target of the fact that
fired, as a model that has learnt it does, and what it "knew before" where none has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import make_backbone
from fake_engine import FakeEngine
from served import Served, running
from stores import CONFIG, states_all_but_nowhere

from lks.serving.facts import Role
from lks.serving.http.app import make_app
from lks.serving.http.model_front import ModelFront
from lks.serving.http.server import Backend, Server, Settings
from lks.serving.live import LiveService
from lks.serving.protocol import EngineRequest
from lks.serving.store.keys import add_key

KNEW = "That is what the model knew before, as far as it goes."


@contextmanager
def page_served(
    folder: Path, *, keys: tuple[Role, ...] = (), pause: float = 0.002
) -> Iterator[tuple[Served, dict[Role, str]]]:
    """A server with a page, and a key for each of these roles."""
    states_all_but_nowhere()
    backbone = make_backbone("llama", chat=True)
    front = ModelFront(backbone)

    def script(request: EngineRequest) -> list[int]:
        says = f"It is {' and '.join(request.targets)}." if request.targets else KNEW
        ids: list[int] = backbone.tokenizer(says, add_special_tokens=False).input_ids
        return ids

    engine = FakeEngine(script, context=4096, pause=pause)
    engine.start()
    with LiveService(backbone, folder, config=CONFIG) as service:
        with service._database.writing() as session:
            made = {role: add_key(session, f"{role}-key", role) for role in keys}
        server = Server(Settings(keep_prompts=True), Backend("tiny", engine, front, service, "abc"))
        app = make_app(server)
        with running(app) as url:
            yield Served(app, server, url), made
        engine.close()
