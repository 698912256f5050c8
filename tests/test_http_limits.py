"""Many clients at once: none waits for ever, some are refused, each answer is of one version."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections import Counter
from typing import Any

import httpx
from conftest import make_edits
from fake_engine import FakeEngine
from served import MODEL, Served, served

from lks.edits.edit import Edit
from lks.serving.http.server import Settings

ASKED = [{"role": "user", "content": "Where is the Eiffel Tower?"}]
CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": MODEL, "messages": ASKED}


def memory() -> int:
    """The most that this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def ask_all(home: Served, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=home.url, timeout=240, limits=limits) as client:
        return await asyncio.gather(*(client.post(CHAT, json=body) for body in bodies))


def test_a_thousand_clients_at_once() -> None:
    settings = Settings(max_waiting=64)
    with served(" Paris is big.", settings=settings, pause=0.002, slots=16) as home:
        asyncio.run(ask_all(home, [BODY] * 8))
        before, began = memory(), time.monotonic()
        bodies = [{**BODY, "stream": n % 2 == 0} for n in range(1000)]
        answers = asyncio.run(ask_all(home, bodies))
        seconds = time.monotonic() - began
        found = Counter(answer.status_code for answer in answers)
        assert set(found) == {200, 429} and found[200] >= 64, found
        refused = [answer for answer in answers if answer.status_code == 429]
        for answer in refused:
            assert 1 <= int(answer.headers["retry-after"]) <= 31
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        for answer in answers:
            if answer.status_code == 200:
                assert "Pa" in answer.text and '"finish_reason":"stop"' in answer.text
        assert home.idle(), "nothing is stuck"
        assert home.server.gate._preparing == 0
        assert len(home.engine.seen) == found[200] + 8, "what was refused cost nothing"
        assert seconds < 240
        assert memory() - before < 300e6
        assert home.http.post(CHAT, json=BODY).status_code == 200
        refusals = f"lks_requests_refused_total {float(found[429])}"
        assert refusals in home.http.get("/metrics").text


def test_a_request_is_refused_only_while_others_wait() -> None:
    settings = Settings(max_waiting=2)
    with served(settings=settings, slots=1) as home:
        home.engine.held_at = 1
        done: list[int] = []

        def ask() -> None:
            done.append(httpx.post(f"{home.url}{CHAT}", json=BODY, timeout=60).status_code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for started, thread in enumerate(threads, 1):
            thread.start()
            while home.engine.load.running + home.engine.load.waiting < started:
                time.sleep(0.01)
        assert (home.engine.load.running, home.engine.load.waiting) == (1, 2)
        refused = home.http.post(CHAT, json=BODY)
        assert refused.status_code == 429
        assert home.http.get("/health").status_code == 200
        assert home.http.get("/v1/models").status_code == 200, "only work waits"
        home.engine.let_go()
        for thread in threads:
            thread.join()
        assert done == [200, 200, 200]
        assert home.http.post(CHAT, json=BODY).status_code == 200


def test_requests_that_fail_do_not_count_as_waiting() -> None:
    with served(settings=Settings(max_waiting=1)) as home:
        for _ in range(5):
            body = {**BODY, "messages": [{"role": "user", "content": "é" * 500}]}
            assert home.http.post(CHAT, json=body).status_code == 400
            assert home.http.post(CHAT, json={**BODY, "model": "other"}).status_code == 404
        assert home.http.post(CHAT, json=BODY).status_code == 200


def test_each_answer_is_of_exactly_one_version() -> None:
    """Two facts are changed together, again and again, while many ask for both."""

    def targets(n: int) -> list[Edit]:
        return [
            Edit(f"{name.lower()}-{n}", name, f"{name} is in", f"T{n}") for name in ("Oslo", "Rome")
        ]

    texts = [{"role": "user", "content": "Oslo and"}, {"role": "user", "content": "Rome"}]
    with served(pause=0.001, settings=Settings(max_waiting=500)) as home:
        who = home.service.caller(None)
        home.service.create_set(who, "facts")
        home.service.add(who, "facts", targets(0))
        stopped = threading.Event()
        versions = {1: 0}

        def change() -> None:
            n = 0
            while not stopped.is_set():
                n += 1
                old = [edit.id for edit in targets(n - 1)]
                # one version has both facts of a number, the next one none
                home.service.retire(who, "facts", old)
                versions[home.service.add(who, "facts", targets(n)).version] = n
                time.sleep(0.002)

        thread = threading.Thread(target=change)
        thread.start()
        body = {"model": f"{MODEL}:facts", "messages": texts}
        answers = asyncio.run(ask_all(home, [body] * 200))
        stopped.set()
        thread.join()
        seen = Counter()
        for answer in answers:
            assert answer.status_code == 200
            own = answer.json()["lks"]
            expected = versions.get(own["version"])
            fired = [] if expected is None else [f"oslo-{expected}", f"rome-{expected}"]
            assert [f["edit"] for f in own["fired"]] == fired
            assert answer.headers["x-lks-version"] == str(own["version"])
            assert answer.headers["x-lks-fired"] == ",".join(fired)
            seen[own["version"]] += 1
        assert len(seen) > 3, "the set was changed while they asked"


def test_the_snapshot_of_a_request_is_asked_for_once() -> None:
    with served() as home:
        who = home.service.caller(None)
        home.service.create_set(who, "facts")
        home.service.add(who, "facts", list(make_edits()))
        asked = []
        whole = home.service.snapshot
        home.service.snapshot = lambda *args: asked.append(args) or whole(*args)
        prompts = ["Eiffel Tower", "Mount Fuji", "Ada Lovelace"]
        body = {"model": f"{MODEL}:facts", "prompt": prompts, "n": 2}
        assert home.http.post("/v1/completions", json=body).status_code == 200
        assert len(asked) == 1


def test_an_engine_that_takes_its_time_to_cancel_holds_up_nobody() -> None:
    """Cancelling waits for a step of the engine; the event loop must not."""

    answered = threading.Event()

    class Slow(FakeEngine):
        def submit(self, request: Any, deliver: Any) -> Any:
            cancel = super().submit(request, deliver)
            return lambda: (answered.wait(60), cancel())

    with served(lambda r: [34] * 1000, context=None, pause=0.001) as home:
        home.engine.__class__ = Slow
        stop = home.backend.front.vocabulary.text([34] * 3)
        answer = home.http.post(CHAT, json={**BODY, "stop": stop})
        assert answer.status_code == 200
        assert home.http.get("/health").status_code == 200
        assert home.engine.cancelled == 0
        answered.set()
        assert home.idle()
