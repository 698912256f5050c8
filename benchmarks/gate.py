"""How well the relation gate tells an edit's relation from other questions about the same subject.

    python benchmarks/gate.py zsre.jsonl counterfact.jsonl --ability FOLDER

For each data set and number of edits: builds the whole scope (matcher and gate), with templates
mined from the whole file as in training, with those of paraphrases only, and alone, from the
edits' own prompts; of fewer than a hundred edits several sets, one after the other. Counts which
edits' own prompts, held-out paraphrases and held-out other questions name its entity, fire the
edit (or any edit), or are taken for an open-ended request (which fires none of these edits); and
times one text at a time. Then, with all edits loaded, texts of FOLDER/*.jsonl that fire anything
at all, by the matcher alone and with the gate. Writes benchmarks/results/gate.json after each
data set; what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _record import RESULTS, given, program

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.evaluation.provenance import provenance
from lks.model.embedder import CachedEmbedder, Embedder
from lks.model.engine.machine import default_threads
from lks.scope.gate.metric import GateState
from lks.scope.gate.relation import RelationGate
from lks.scope.scope import Scope
from lks.scope.types import Reason
from lks.training.gate_metric import learn
from lks.training.prompts import GATE_WORDINGS, training_prompts

TEXT_KEYS = ("question", "sentence", "sentence1", "sentence2", "premise", "hypothesis", "text")
EXAMPLES, TIMED = 8, 200
SETS = 20  # at most, of few edits; no more than 100 edits in all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=given)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100, 1000, 10000])
    parser.add_argument("--ability", type=given)
    parser.add_argument("--out", type=Path, default=RESULTS / "gate.json")
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    done = json.loads(options.out.read_text()) if options.out.exists() else {}
    embed = Embedder()
    for data in options.data:
        rows = EditSet.load(data)
        for size in options.sizes:
            ways = [(rows, f"{data.stem}-{size}"), ((), f"{data.stem}-{size}-alone")]
            ways.append((without_others(rows), f"{data.stem}-{size}-paraphrases"))
            for pool, name in ways if size < len(rows) else ways[:1]:  # all lend to each other
                if name not in done:
                    result, scope = _sets(embed, rows, size, pool)
                    if options.ability and size == max(options.sizes) and pool:
                        result["ability"] = _ability(scope, options.ability)
                    done[name] = {**provenance(), **result}
                    options.out.write_text(json.dumps(done, indent=2, ensure_ascii=False) + "\n")
                shown = {k: v for k, v in done[name].items() if isinstance(v, float)}
                print(name, shown, flush=True)


def without_others(rows: Sequence[Edit]) -> EditSet:
    """The rows without other questions about their subjects, so that they lend none."""
    return EditSet(replace(row, locality=()) for row in rows)


def _sets(
    embed: Embedder, rows: EditSet, size: int, pool: Sequence[Edit]
) -> tuple[dict[str, Any], Scope]:
    """Means over sets of edits, and the last one's scope."""
    count = max(1, min(SETS, 100 // size))
    known = CachedEmbedder(embed)  # lent wordings are read once
    sets = [rows[i * size : (i + 1) * size] for i in range(count)]
    made = [_gate(embed, known, edits, pool) for edits in sets]
    results = [result for result, _ in made]
    means = {
        key: round(fmean(result[key] for result in results if key in result), 4)
        for key, value in results[0].items()
        if isinstance(value, float)
    }
    return {**results[-1], **means, "sets": count}, made[-1][1]


def _gate(
    embed: Embedder, known: CachedEmbedder, edits: EditSet, pool: Sequence[Edit]
) -> tuple[dict[str, Any], Scope]:
    started = time.perf_counter()
    asking = edits if not pool or any(row.locality for row in pool) else without_others(edits)
    prompts, _ = training_prompts(asking, pool, embed=known, most=GATE_WORDINGS)
    metric, exemplars = learn(known, edits, prompts)
    scope = Scope(edits, RelationGate.of(GateState(metric, exemplars), embed, edits))
    seconds = time.perf_counter() - started
    asked = {
        "own": [(e.id, e.prompt) for e in edits],
        "paraphrase": [(e.id, text) for e in edits for text in e.generality],
        "other": [(e.id, p.prompt) for e in edits for p in e.heldout_locality],
    }
    result: dict[str, Any] = {
        "edits": len(edits), "threshold": metric.threshold, "open_threshold": metric.open_threshold,
        "learn_seconds": round(seconds, 1), "references": len(exemplars.vectors),
    }  # fmt: skip
    for kind, pairs in asked.items():
        if not pairs:
            continue
        examined = scope.examine([text for _, text in pairs])
        said = [[v for finding in found for v in finding.decisions] for found in examined]
        decided = [{v.edit_id for v in own if v.fired} for own in said]
        hits = [edit_id in own for (edit_id, _), own in zip(pairs, decided, strict=True)]
        named = [
            any(v.edit_id == edit_id for v in own)
            for (edit_id, _), own in zip(pairs, said, strict=True)
        ]
        opened = [any(v.reason == Reason.UNPROFILED for v in own) for own in said]
        result[f"{kind}_named"] = round(sum(named) / len(hits), 4)
        result[f"{kind}_fired"] = round(sum(hits) / len(hits), 4)
        result[f"{kind}_any_fired"] = round(sum(map(bool, decided)) / len(hits), 4)
        result[f"{kind}_open_ended"] = round(sum(opened) / len(hits), 4)
        wrong = [
            text for (_, text), hit in zip(pairs, hits, strict=True) if hit == (kind == "other")
        ]
        result[f"{kind}_wrong"] = wrong[:EXAMPLES]
    texts = [text for _, text in asked["paraphrase"][:TIMED]]
    result |= _cost("matcher", scope.with_gate(None), texts) | _cost("scope", scope, texts)
    return result, scope


def _cost(name: str, scope: Scope, texts: Sequence[str]) -> dict[str, float]:
    """Milliseconds of one text that names an entity, alone: median and 99th percentile."""
    scope.fired(texts[:1])
    times = []
    for text in texts:
        started = time.perf_counter()
        scope.fired([text])
        times.append(1000 * (time.perf_counter() - started))
    times.sort()
    return {f"{name}_ms_p50": round(times[len(times) // 2], 3),
            f"{name}_ms_p99": round(times[99 * len(times) // 100], 3)}  # fmt: skip


def _ability(scope: Scope, folder: Path) -> dict[str, Any]:
    """Texts of each file that fire, of 1,000."""
    names, result = scope.with_gate(None), {}
    for file in sorted(folder.glob("*.jsonl")):
        texts = questions_of(file)
        named = [bool(found) for found in names.fired(texts)]
        fired = scope.fired(texts)
        shown = [
            {"text": text[:200], "surface": found[0].surface, "edit": found[0].edit_ids[0]}
            for text, found in zip(texts, fired, strict=True)
            if found
        ]
        result[file.stem] = {
            "texts": len(texts),
            "named_per_1000": round(1000 * sum(named) / len(texts), 2),
            "fired_per_1000": round(1000 * len(shown) / len(texts), 2),
            "examples": shown[:EXAMPLES],
        }
    return result


def questions_of(file: Path) -> Sequence[str]:
    """The questions of a file, as one text a row."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    return [" ".join(str(row[key]) for key in TEXT_KEYS if key in row) for row in rows]


if __name__ == "__main__":
    program(main)
