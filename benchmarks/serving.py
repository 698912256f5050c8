"""What edits cost a server: throughput and waiting, edited against unedited, in one run.

    python benchmarks/serving.py counterfact.jsonl
    python benchmarks/serving.py counterfact.jsonl --soak 10000

Starts `lks serve` on one core, with sets of 1,000 and 10,000 facts, and asks it from another. The
facts have real names and a real relation gate, but blocks of zeros, so that edited and unedited
model write the same texts: what is measured is the machinery. Of the questions every second one
fires a fact. Measured in turn, several times: as many requests as 8 clients ask; requests at rates
of .5 and .8 of what the server can do; both also against `transformers serve`, if its packages are
there. Then: facts that are really learnt, added and taken out while 8 clients ask; and memory over
many requests. Writes benchmarks/results/serving.json; what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import httpx
import psutil
import torch
from _load import at_once, at_rate, body
from _record import RESULTS, given, program

from lks.blocks.hypernetwork import HyperNetwork
from lks.edits.edit_set import EditSet
from lks.evaluation.provenance import provenance
from lks.model.backbone import Backbone
from lks.model.embedder import CachedEmbedder, Embedder
from lks.packs.pack import Pack
from lks.packs.training_summary import TrainingSummary
from lks.scope.gate.metric import GateState
from lks.serving.client import Client
from lks.training.config import TrainingConfig
from lks.training.gate_metric import learn
from lks.training.prompts import GATE_WORDINGS, training_prompts

MODEL = "smollm2-135m"
CLIENTS, TOKENS, TURNS, RATES = 8, 24, 2, (0.5, 0.8)
NAMES_NOBODY = (
    "How do I boil an egg?", "Write a short poem about rain.", "What is 17 times 23?",
    "Why is the sky blue?", "Name three kinds of bread.", "How does a bicycle stay upright?",
)  # fmt: skip
TRANSFORMERS = Path(sys.executable).with_name("transformers")
LEARNT = 5  # facts that are really added and taken out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=given)
    parser.add_argument("--requests", type=int, default=48, help="a measurement")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000], help="facts")
    parser.add_argument("--soak", type=int, default=0, help="requests over which memory is watched")
    parser.add_argument("--out", type=Path, default=RESULTS / "serving.json")
    options = parser.parse_args()
    result = json.loads(options.out.read_text()) if options.out.exists() else {}

    def keep(name: str, found: Any) -> None:
        result[name] = {**provenance(), **found}
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(found), flush=True)

    edits = EditSet.load(options.data)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        for size in options.sizes:
            pack = Path(folder) / f"{size}.pack"
            _pack(edits[:size]).save(pack)
            with _server(pack, "--set", f"facts{size}", store=store) as (url, _):
                _until_in_force(url, f"facts{size}")
        questions = _questions(edits, options.requests)
        with _server(store=store) as (url, process):
            if "load" not in result:
                keep("load", _load(url, process, questions, options.sizes))
            if "changes" not in result:
                keep("changes", _changes(url, questions))
            if options.soak and "memory" not in result:
                keep("memory", _memory(url, process, questions, options))
        if "transformers serve" not in result and TRANSFORMERS.exists():
            keep("transformers serve", _transformers(Path(folder), questions))


def _pack(edits: EditSet) -> Pack:
    """Edits with blocks that change nothing."""
    backbone, embed = Backbone.load(MODEL), Embedder()
    known, config = CachedEmbedder(embed), TrainingConfig()
    prompts, _ = training_prompts(edits, embed=known, most=GATE_WORDINGS)
    metric, exemplars = learn(known, edits, prompts)
    return Pack(
        edits=EditSet(replace(edit, exact=False) for edit in edits),
        blocks=torch.zeros(len(edits), 1, backbone.width),
        hypernetwork=dict(HyperNetwork(backbone.width, config.hypernetwork).state_dict()),
        base_model=backbone.fingerprint,
        layers=config.resolve_layers(backbone.n_layers),
        form="residual",
        kind=config.hypernetwork,
        scale=(1e9,),  # no state is so large that it is shrunk
        training=TrainingSummary(config=config.for_edits(len(edits)).to_json()),
        gate=GateState(metric, exemplars, embed.name, embed.fingerprint),
    )


def _questions(edits: EditSet, count: int) -> list[str]:
    """Every second one fires one of the first thousand facts."""
    firing = [edit.prompt for edit in edits[: count // 2]]
    other = [NAMES_NOBODY[i % len(NAMES_NOBODY)] for i in range(count - len(firing))]
    return [text for pair in zip(firing, other, strict=True) for text in pair]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def _process(command: Sequence[object], ready: str, port: int) -> Iterator[psutil.Process]:
    """A server on the machine's first core; this process takes another, if there is one."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[1:] or cores)
    one = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    started = subprocess.Popen(
        [*map(str, command)], env=one, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores[:1]),
    )  # fmt: skip
    told: list[str] = []
    Thread(target=lambda: told.extend(started.stderr or ()), daemon=True).start()
    try:
        for _ in range(1200):
            if started.poll() is not None:
                raise SystemExit(f"the server ended: {''.join(told[-8:])}")
            try:
                if httpx.get(f"http://127.0.0.1:{port}{ready}").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        yield psutil.Process(started.pid)
    finally:
        os.sched_setaffinity(0, cores)
        started.terminate()
        started.wait(30)


@contextmanager
def _server(*words: object, store: Path) -> Iterator[tuple[str, psutil.Process]]:
    port = _free_port()
    command = [sys.executable, "-m", "lks", "serve", *words, "--store", store, "--port", port]
    more = ["--threads", 1, "--dtype", "float32", "--max-waiting", 4096, "--no-self-test"]
    with _process([*command, *more], "/ready", port) as process:
        yield f"http://127.0.0.1:{port}", process


def _until_in_force(url: str, name: str) -> None:
    with Client(url) as client:
        while not any(one.name == name and one.facts for one in client.sets()):
            time.sleep(0.5)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _load(
    url: str, process: psutil.Process, questions: list[str], sizes: Sequence[int]
) -> dict[str, Any]:
    """The unedited model and the sets in turn; of the ratios of each turn the median."""
    models = {"unedited": MODEL} | {f"{size} facts": f"{MODEL}:facts{size}" for size in sizes}
    rows: dict[str, list[dict[str, Any]]] = {}
    at_once(url, [body(MODEL, questions[0], 4)] * 4, 4)  # warm
    texts: dict[str, list[str]] = {}
    for _ in range(TURNS):
        for name, model in models.items():
            bodies = [body(model, text, TOKENS) for text in questions]
            before = _cpu(process)
            run = at_once(url, bodies, CLIENTS)
            found = run.to_json()
            found["cpu_ms_a_token"] = (
                1000 * (_cpu(process) - before) / sum(len(answer.times) for answer in run.answers)
            )
            rows.setdefault(f"{name}, {CLIENTS} clients", []).append(found)
            texts.setdefault(name, []).extend(sorted(answer.text for answer in run.answers))
        capacity = rows[f"unedited, {CLIENTS} clients"][-1]["tokens_a_second"] / TOKENS
        for share in RATES:
            for name, model in models.items():
                bodies = [body(model, text, TOKENS) for text in questions]
                found = at_rate(url, bodies, share * capacity).to_json()
                rows.setdefault(f"{name}, {share} of capacity", []).append(found)
    return {
        "cores": 1, "tokens": TOKENS, "turns": TURNS,
        "same_texts": all(own == texts["unedited"] for own in texts.values()),
        "rows": {name: _medians(own) for name, own in rows.items()},
        "ratios": _ratios(rows),
    }  # fmt: skip


def _medians(turns: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {key: round(median(turn[key] for turn in turns), 5) for key in turns[0]}


def _ratios(rows: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Against the unedited model in the same turn."""
    found = {}
    for name, turns in rows.items():
        what, how = name.split(", ")
        if what != "unedited":
            base = rows[f"unedited, {how}"]
            found[name] = {
                key: round(median(a[key] / b[key] for a, b in zip(turns, base, strict=True)), 4)
                for key in turns[0]
                if key != "requests"
            }
    return found


def _changes(url: str, questions: list[str]) -> dict[str, Any]:
    """Facts added and taken out while others ask: seconds until each is in force, or out."""
    bodies = [body(f"{MODEL}:hot", text, TOKENS) for text in questions]
    facts = [
        {"id": f"f{i}", "subject": name, "prompt": f"The head of {name} is", "target": target}
        for i, (name, target) in enumerate(
            zip(("Vexilo", "Tarn Labs", "Quorra", "Nubrio", "Ostwerk"),
                ("Ada Stone", "Ben Ruiz", "Carla Voss", "Dan Okoro", "Eva Lind"), strict=True)
        )
    ]  # fmt: skip
    added, retired, failed = [], [], 0
    with Client(url) as client:
        client.create_set("hot")
        first = {"id": "base", "subject": "Mount Fuji", "prompt": "{} lies in", "target": "Peru"}
        client.wait(client.add("hot", [first]))
        stop = False

        def ask() -> None:
            while not stop:
                at_once(url, bodies, CLIENTS)

        asking = Thread(target=ask)
        asking.start()
        for fact in facts[:LEARNT]:
            begun = time.perf_counter()
            failed += bool(client.wait(client.add("hot", [fact])).failed)
            added.append(round(time.perf_counter() - begun, 3))
        for fact in client.facts("hot", states=["in_force"]).facts:
            begun = time.perf_counter()
            client.retire("hot", [fact.id])
            retired.append(round(time.perf_counter() - begun, 4))
        stop = True
        asking.join()
    return {"clients": CLIENTS, "added_seconds": added, "not_learnt": failed,
            "retired_seconds": retired}  # fmt: skip


def _memory(
    url: str, process: psutil.Process, questions: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Resident megabytes after each tenth of many short requests."""
    model, count, used = f"{MODEL}:facts{options.sizes[-1]}", options.soak, list[int]()
    tenth = [body(model, questions[i % len(questions)], 1) for i in range(count // 10)]
    for _ in range(10):
        at_once(url, tenth, 32)
        used.append(round(process.memory_info().rss / 2**20))
    return {"requests": count, "megabytes": used}


def _transformers(folder: Path, questions: list[str]) -> dict[str, Any]:
    """The same requests to the library's own server, with continuous batching."""
    backbone, port = Backbone.load(MODEL), _free_port()
    backbone.model.save_pretrained(folder / "model")
    backbone.tokenizer.save_pretrained(folder / "model")
    command = [TRANSFORMERS, "serve", "--port", port, "--device", "cpu", "--dtype", "float32",
               "--continuous-batching"]  # fmt: skip
    with _process(command, "/health", port) as process:
        url = f"http://127.0.0.1:{port}"
        bodies = [body(str(folder / "model"), text, TOKENS) for text in questions]
        at_once(url, bodies[:2], 1)  # loads the model
        before = _cpu(process)
        run = at_once(url, bodies, CLIENTS)
        tokens = sum(len(answer.times) for answer in run.answers)
        return {**run.to_json(), "cpu_ms_a_token": 1000 * (_cpu(process) - before) / tokens}


if __name__ == "__main__":
    program(main)
