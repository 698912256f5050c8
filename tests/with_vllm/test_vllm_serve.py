"""Over HTTP, with all processes: `lks serve --engine vllm`, and vLLM's own server with a pack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from engines import ASKED
from test_cli import run
from test_serve import started
from vllm_engines import OPTIONS, pack_of

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.model.backbone import Backbone
from lks.serving.address import bound

pytest_plugins = "vllm_engines"
MOST = 8
HELD_BACK = "\ufffd"  # vLLM waits for the rest of a character that is not whole
PROMPTS = [*ASKED[:4], ASKED[5]]


def written(whose: ScalpelModel | UneditedModel, prompts: list[str]) -> list[str]:
    return [whose.respond([p], max_new_tokens=MOST)[0].whole for p in prompts]


def test_lks_serve_writes_with_vllm(folder: Path, wide: Backbone, tmp_path: Path) -> None:
    pack = pack_of(wide, 0)
    pack.save(tmp_path / "facts.pack")
    args = [tmp_path / "facts.pack", "--engine", "vllm", "--engine-args", json.dumps(OPTIONS)]
    with started(tmp_path, *args) as server:
        server.until("4 facts in force after", 240)
        http, name = server.http, Path(pack.base_model.name).name
        ask = {"max_tokens": MOST, "temperature": 0}

        def told(model: str, prompt: str) -> tuple[str, list[str]]:
            body = {"model": model, "prompt": prompt, **ask}
            own = http.post("/v1/completions", json=body).raise_for_status().json()
            return own["choices"][0]["text"], [fired["edit"] for fired in own["lks"]["fired"]]

        with ThreadPoolExecutor(8) as pool:
            edited = list(pool.map(told, [f"{name}:default"] * len(PROMPTS), PROMPTS))
            plain = list(pool.map(told, [name] * len(PROMPTS), PROMPTS))
        assert [text for text, _ in edited] == written(ScalpelModel(wide, pack), PROMPTS)
        assert [text for text, _ in plain] == written(UneditedModel(wide), PROMPTS)
        assert [fired for _, fired in edited][:1] == [["eiffel"]]
        assert not any(fired for _, fired in plain)
        http.delete("/v1/lks/sets/default/edits/eiffel").raise_for_status()
        assert told(f"{name}:default", PROMPTS[0]) == (plain[0][0], [])
        assert server.stop() == 0


def test_a_stop_while_vllm_is_started_leaves_no_process(folder: Path, tmp_path: Path) -> None:
    args = ["--model", folder, "--engine", "vllm", "--engine-args", json.dumps(OPTIONS)]
    with started(tmp_path, *args) as server:
        server.until(r"EngineCore pid=\d+", 120)
        others = psutil.Process(server.process.pid).children(recursive=True)
        assert others
        assert server.stop() == 0
    _, alive = psutil.wait_procs(others, timeout=30)
    assert not alive


@contextmanager
def vllm_serving(folder: Path, told: Path, additional: object) -> Iterator[httpx.Client]:
    """vLLM's own server, as people start it."""
    free = bound("127.0.0.1", 0)
    port = free.getsockname()[1]
    free.close()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--port", str(port), "--served-model-name", "tiny", "--dtype", "float32"]
    command += ["--enforce-eager", "--block-size", "32", "--max-num-batched-tokens", "48"]
    command += ["--max-num-seqs", "16", "--max-model-len", "512"]
    command += ["--additional-config", json.dumps(additional)]
    with told.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ)
    try:
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        until = time.monotonic() + 240
        while True:
            assert process.poll() is None and time.monotonic() < until, told.read_text()[-4000:]
            try:
                if http.get("/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.3)
        yield http
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_vllms_own_server_has_the_facts_of_a_pack(
    folder: Path, wide: Backbone, tmp_path: Path
) -> None:
    pack, place = pack_of(wide, 0), tmp_path / "facts.pack"
    pack.save(place)
    additional = {"lks": {"packs": {"facts": str(place)}}}
    right, plain = (
        [text.rstrip(HELD_BACK) for text in written(whose, PROMPTS)]
        for whose in (ScalpelModel(wide, pack), UneditedModel(wide))
    )
    assert right[0] != plain[0]

    with vllm_serving(folder, tmp_path / "told", additional) as http:

        def answer(prompt: str, name: str | None = None) -> httpx.Response:
            body = {"model": "tiny", "prompt": prompt, "max_tokens": MOST, "temperature": 0}
            extra = {} if name is None else {"vllm_xargs": {"lks": name}}
            return http.post("/v1/completions", json={**body, **extra})

        def text(prompt: str, name: str | None = None) -> str:
            own = answer(prompt, name).raise_for_status().json()["choices"][0]["text"]
            return str(own).rstrip(HELD_BACK)

        with ThreadPoolExecutor(10) as pool:
            edited = pool.map(text, PROMPTS)
            unedited = pool.map(text, PROMPTS, [""] * len(PROMPTS))
            assert list(edited) == right
            assert list(unedited) == plain
        refused = answer(PROMPTS[0], "others")
        assert refused.status_code == 400
        assert refused.json()["error"]["message"] == 'there is no set "others"; there is facts'
        with ThreadPoolExecutor(4) as pool:  # each answer is of the one version or of the other
            running = [pool.submit(text, PROMPTS[0]) for _ in range(20)]
            code, _, err = run("remove", place, "eiffel")
            assert code == 0, err
            assert {own.result() for own in running} <= {right[0], plain[0]}
        assert [text(prompt) for prompt in PROMPTS[:2]] == [plain[0], right[1]]
