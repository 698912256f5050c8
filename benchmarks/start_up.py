"""What commands cost beside the model's own work: imports, the sentence embedder, looking again.

    python benchmarks/start_up.py PACK [--against SRC]

PACK is a pack with a relation gate. Each figure is the least of several runs, taken in turn with
those of an earlier version's `src`, and the ratio of the two. Seconds are the wall's; `cpu` the
processors', which other work on the machine moves less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _record import RESULTS, given, program

from lks.evaluation.provenance import provenance

SRC = Path(__file__).parent.parent / "src"
QUESTION = "Where is the Eiffel Tower?"
TEXTS, ALONE = 400, 20
EMBED = f"""
import json, time
from lks.model.embedder import Embedder
from lks.scope.languages.en import open_ended_requests
texts = [f"{{text}} ({{i}})" for i in range({TEXTS}) for text in open_ended_requests()][:{TEXTS}]
embed = Embedder()
embed(["a"])
begun = (cpu := time.process_time)()
for text in texts[:{ALONE}]: embed([text])
one, begun = (cpu() - begun) / {ALONE}, cpu()
embed(texts)
print(json.dumps({{"one_text": one, "{TEXTS}_texts": cpu() - begun}}))
"""

RESCAN = """
import json, sys, time
from lks.editors.lks.model import ScalpelModel
from lks.model.backbone import Backbone
from lks.packs.pack import Pack
from lks.scope.scope import Scope
pack = Pack.load(sys.argv[1])
model = ScalpelModel(Backbone.load(pack.base_model["name"], device="cpu"), pack)
looks, seconds, examine = 0, 0.0, Scope.examine
def counted(self, texts):
    global looks, seconds
    begun = time.process_time()
    found = examine(self, texts)
    looks, seconds = looks + len(texts), seconds + time.process_time() - begun
    return found
Scope.examine = counted
subjects = list(dict.fromkeys(edit.subject for edit in pack.edits))[:4]
prompts = [f"Tell me about {subject}." for subject in subjects]
model.generate(prompts, rescan=True, chat=True, max_new_tokens=48)
print(json.dumps({"looks_a_text": looks / len(prompts), "cpu_a_text": seconds / len(prompts)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=given)
    parser.add_argument("--against", type=given)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    commands = {
        "lks --help": ["--help"],
        "lks scope": ["scope", options.pack, QUESTION],
        "lks ask": ["ask", options.pack, QUESTION, "--max-new-tokens", "16"],
    }
    sources = {"now": SRC} | ({"before": options.against} if options.against else {})
    result: dict[str, Any] = {"runs": options.runs, **provenance()}
    phases = {
        name: lambda src, words=words: _timed(src, words) for name, words in commands.items()
    } | {
        "embedder, cpu seconds": lambda src: _program(src, EMBED),
        "rescanning": lambda src: _program(src, RESCAN, options.pack),
    }
    out = RESULTS / "start_up.json"
    for name, measured in phases.items():
        result[name] = _least(sources, options.runs, measured)
        print(name, json.dumps(result[name]), flush=True)
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _least(sources: dict[str, Path], runs: int, measured: Any) -> dict[str, Any]:
    """The least of each figure, and how many times less it is now."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in sources}
    for _ in range(runs):
        for name, src in sources.items():
            taken[name].append(measured(src))
    least = {
        name: {key: round(min(run[key] for run in own), 4) for key in own[0]}
        for name, own in taken.items()
    }
    if "before" in least:
        now, before = least["now"], least["before"]
        least["ratio"] = {key: round(before[key] / now[key], 2) for key in now}
    return least


def _run(src: Path, words: list[Any]) -> str:
    environment = os.environ | {"PYTHONPATH": str(src)}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout


def _timed(src: Path, words: list[Any]) -> dict[str, float]:
    used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    _run(src, ["-m", "lks", *words])
    wall, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime}


def _program(src: Path, program: str, *words: Any) -> dict[str, float]:
    found: dict[str, float] = json.loads(_run(src, ["-c", program, *words]))
    return found


if __name__ == "__main__":
    program(main)
