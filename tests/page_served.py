"""The page over a real store and a real scope; only the model's words are made up.

A random model says nothing that could be read. So the engine writes the targets of the facts that
fired, as a model that has learnt them does, and what it "knew before" where none has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from conftest import make_backbone
from fake_engine import FakeEngine
from served import MODEL, Served, running
from stores import CONFIG, states_all_but_nowhere

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.serving.facts import Role
from lks.serving.http.app import make_app
from lks.serving.http.model_front import ModelFront
from lks.serving.http.server import Backend, Server, Settings
from lks.serving.live import LiveService
from lks.serving.protocol import EngineRequest
from lks.serving.store.keys import add_key

KNEW = "That is what the model knew before, as far as it goes."
SHAKY = "By which day is the tax form due?"  # the self-test of a fact with this paraphrase fails


class PageServed(Served):
    """A running server. `keys` are API keys by role; without any everybody is the local admin."""

    keys: Mapping[Role, str]

    def call(self, method: str, path: str, role: Role | None = None, **more: Any) -> Any:
        headers = {"authorization": f"Bearer {self.keys[role]}"} if role else {}
        answer = self.http.request(method, f"/v1/lks/{path}", headers=headers, **more)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def add(
        self, name: str, facts: Sequence[Mapping[str, Any]], role: Role | None = None, **more: Any
    ) -> None:
        """Add facts, and wait until they are in force, or proposed."""
        body = {"edits": facts, **more}
        job = self.call("POST", f"sets/{name}/edits", role, json=body)
        reader = role or (Role.EDIT if self.keys else None)
        while self.call("GET", f"jobs/{job['id']}", reader)["state"] in ("queued", "learning"):
            time.sleep(0.02)


@contextmanager
def page_served(folder: Path, *, roles: Sequence[Role] = ()) -> Iterator[PageServed]:
    """A server with a page, and a key for each of these roles."""
    states_all_but_nowhere()
    backbone = make_backbone("llama", chat=True)
    tokenizer = backbone.tokenizer

    def script(request: EngineRequest) -> list[int]:
        says = f"It is {' and '.join(request.targets)}." if request.targets else KNEW
        ids: list[int] = tokenizer(says, add_special_tokens=False).input_ids
        return ids

    config = replace(CONFIG, scope="relation", embedder="use")
    engine = FakeEngine(script, context=4096)
    with LiveService(backbone, folder, config=config, test=_self_test) as service:
        engine.start()
        backend = Backend(MODEL, engine, ModelFront(backbone), service, "abc")
        server = Server(Settings(keep_prompts=True), backend)
        app = make_app(server)
        with service._database.writing() as session:
            keys = {role: add_key(session, f"{role}-key", role) for role in roles}
        with running(app) as url:
            home = PageServed(app, server, url)
            home.keys = keys
            yield home
        engine.close()


def _self_test(model: ScalpelModel, edits: Sequence[Edit]) -> Mapping[str, Sequence[str]]:
    return {edit.id: [SHAKY] for edit in edits if SHAKY in edit.generality}
