"""Scoring a few-shot task: its demonstrations read once, against in every text.

    python benchmarks/scoring_speed.py FOLDER

The folder holds the files of `lks ability`. The unedited model answers the first hundred items of
each task that has choices, both ways in turn, after one short round that is not timed.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from _record import RESULTS, given, program

from lks.editors.unedited import UneditedModel
from lks.evaluation import ability
from lks.evaluation.provenance import provenance
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads

TASKS = ("sst2", "rte", "mrpc", "cola", "mmlu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=given)
    parser.add_argument("--threads", type=int, default=default_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = UneditedModel(Backbone.load("smollm2-135m", device="cpu"))
    tasks = [_timed(model, ability.load(options.folder / f"{name}.jsonl")) for name in TASKS]
    result = {"threads": options.threads, **provenance(), "tasks": tasks}
    out = RESULTS / "scoring_speed.json"
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _timed(model: UneditedModel, task: ability.Task) -> dict[str, Any]:
    few = replace(task, items=task.items[:4])
    for shared in (False, True):
        _answered(model, few, shared=shared)
    whole, seconds_whole = _answered(model, task, shared=False)
    once, seconds_once = _answered(model, task, shared=True)
    apart = [abs(a - b) for one, other in zip(whole.scores, once.scores, strict=True)
             for a, b in zip(one, other, strict=True)]  # fmt: skip
    return {
        "task": task.name, "n": len(task.items),
        "seconds_whole": round(seconds_whole, 2), "seconds_once": round(seconds_once, 2),
        "ratio": round(seconds_whole / seconds_once, 2),
        "answers_apart": sum(a != b for a, b in zip(whole.given, once.given, strict=True)),
        "largest_difference": max(apart),
    }  # fmt: skip


def _answered(
    model: UneditedModel, task: ability.Task, *, shared: bool
) -> tuple[ability.Answers, float]:
    with patch("lks.model.engine.prefix_cache.LEAST_TOKENS", 16 if shared else 10**9):
        started = time.perf_counter()
        answers = ability.answer(model, task)
        return answers, time.perf_counter() - started


if __name__ == "__main__":
    program(main)
