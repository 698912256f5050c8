"""What each part of the edit scope wins and costs: left out, and alone beside the exact names.

    python benchmarks/scope_ablation.py zsre.jsonl counterfact.jsonl --ability FOLDER --cases FOLDER

Three kinds of texts are asked of every configuration:
(a) rows of the edit files, all of a file's edits in force: own prompts and held-out paraphrases, of
    which the row's edit must fire, held-out other questions, of which it must not, and the texts of
    FOLDER/*.jsonl (abilities), of which nothing must;
(b) the cases of `--cases`, a folder with edits.jsonl and cases.jsonl (id, kind, text or messages,
    fires): right is a case that fires just the edits it names;
(c) names of both files with one typing error (6 letters or more) or two (12 or more).

A part's wins and losses count texts that are right with it and wrong without it, and the reverse.
The relation gate is learnt once a file, from all rows' lent wordings; with `--gates FOLDER` it is
kept there. `overlap` tells how many held-out paraphrases are literally wordings of the bank, which
edits borrow and the embedder was tuned on, and what the gate is worth with the borrowed wordings
and without them.
Writes benchmarks/results/scope_ablation.json after each configuration, and goes on from there.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import RESULTS, given, program
from gate import questions_of
from scope_cases import text_of
from scope_names import FRAMES, letters, misspelt

from lks.edits.edit import SLOT, Edit
from lks.edits.edit_set import EditSet
from lks.edits.text import same_wording
from lks.evaluation.provenance import provenance
from lks.model.embedder import CachedEmbedder, Embedder
from lks.scope.bank.relations import bank
from lks.scope.config import DEFAULT, EXACT, ScopeConfig
from lks.scope.gate.metric import Exemplars, GateState, Metric
from lks.scope.gate.questions import MASK
from lks.scope.gate.relation import RelationGate
from lks.scope.registry import PARTS
from lks.scope.scope import Scope
from lks.training.gate_metric import learn
from lks.training.prompts import GATE_WORDINGS, training_prompts

SEED, TIMED = 0, 300
Right = Callable[[set[str]], bool]


@dataclass(frozen=True)
class Asked:
    """Texts of one kind, and what of the fired edits' ids is right for each."""

    name: str
    texts: Sequence[str]
    right: Sequence[Right]


@dataclass(frozen=True)
class Setting:
    """A set of edits in force with its gate, and what is asked of it."""

    name: str
    edits: EditSet
    gate: GateState
    asked: Sequence[Asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=given)
    parser.add_argument("--ability", type=given, required=True)
    parser.add_argument("--cases", type=given, required=True)
    parser.add_argument("--gates", type=Path)
    parser.add_argument("--every", type=int, default=5, help="ask of every so manieth row")
    parser.add_argument("--out", type=Path, default=RESULTS / "scope_ablation.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    embed = CachedEmbedder(Embedder())  # each text is read once
    done: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    settings = [_of_file(embed, data, options) for data in options.data]
    settings.append(_of_cases(embed, options.cases))
    base = {setting.name: _asked(embed, setting, DEFAULT) for setting in settings}
    known = {setting.name: _asked(embed, setting, EXACT) for setting in settings}
    for name, config, other in _configurations():
        if name in done:
            continue
        found = {s.name: _asked(embed, s, config) for s in settings}
        against = {"default": base, "exact": known}[other]
        done[name] = {**provenance(), "seed": SEED, "every": options.every, "against": other}
        for setting in settings:
            done[name][setting.name] = _told(setting, found[setting.name], against[setting.name])
        options.out.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")
        print(name, {s.name: done[name][s.name]["changed"] for s in settings}, flush=True)
    if "overlap" not in done:
        done["overlap"] = {data.stem: _overlap(embed, data, options) for data in options.data}
        options.out.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")


def _configurations() -> Iterator[tuple[str, ScopeConfig, str]]:
    """(name, configuration, what it is compared with)."""
    yield "default", DEFAULT, "default"
    yield "exact", EXACT, "default"
    parts = [(kind, name) for kind in PARTS for name in getattr(DEFAULT, kind)]
    for _, name in parts:
        if name != "exact":
            yield f"without {name}", DEFAULT.without(name), "default"
    for kind, name in parts:
        if name not in getattr(EXACT, kind):
            yield f"only {name}", EXACT.with_part(kind, name), "exact"


def _of_file(embed: CachedEmbedder, data: Path, options: argparse.Namespace) -> Setting:
    edits = EditSet.load(data)
    rows = edits[:: options.every]

    def fires(edit_id: str, fired: set[str]) -> bool:
        return edit_id in fired

    def quiet(edit_id: str, fired: set[str]) -> bool:
        return edit_id not in fired

    def nothing(fired: set[str]) -> bool:
        return not fired

    own = [(e.prompt, partial(fires, e.id)) for e in rows]
    paraphrases = [(text, partial(fires, e.id)) for e in rows for text in e.generality]
    others = [(p.prompt, partial(quiet, e.id)) for e in rows for p in e.heldout_locality]
    rng = random.Random(SEED)
    written = []
    for number, edit in enumerate(rows):
        for errors, shortest in ((1, 6), (2, 12)):
            if letters(edit.subject) >= shortest and edit.subject in edit.prompt:
                wrong = misspelt(edit.subject, errors, rng)
                written.append((edit.prompt.replace(edit.subject, wrong), partial(fires, edit.id)))
        if number >= len(FRAMES) * 700:
            break
    texts = [t for file in sorted(options.ability.glob("*.jsonl")) for t in questions_of(file)]
    asked = {
        "own prompts": own, "paraphrases": paraphrases, "other questions": others,
        "misspelt": written, "abilities": [(text, nothing) for text in texts],
    }  # fmt: skip
    kinds = [Asked(name, *zip(*pairs, strict=True)) for name, pairs in asked.items() if pairs]
    return Setting(data.stem, edits, _gate(embed, edits, edits, data.stem, options.gates), kinds)


def _of_cases(embed: CachedEmbedder, folder: Path) -> Setting:
    edits = EditSet.load(folder / "edits.jsonl")
    rows = [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]

    def just(wanted: set[str], fired: set[str]) -> bool:
        return fired == wanted

    texts = [text_of(row) for row in rows]
    fire = [i for i, row in enumerate(rows) if row["fires"]]
    silent = [i for i, row in enumerate(rows) if not row["fires"]]
    right = [partial(just, set(row["fires"])) for row in rows]
    asked = [
        Asked(name, [texts[i] for i in own], [right[i] for i in own])
        for name, own in (("must fire", fire), ("must not fire", silent))
    ]
    return Setting("cases", edits, _gate(embed, edits, (), "cases", None), asked)


def _gate(
    embed: CachedEmbedder,
    edits: EditSet,
    pool: Sequence[Edit],
    name: str,
    folder: Path | None,
    *,
    lent: bool = True,
) -> GateState:
    """What the relation gate learns from these edits; kept in a folder if there is one.

    Args:
        lent: whether edits borrow of the bank.
    """
    file = folder / f"{name}-{embed.name}{'' if lent else '-without'}.npz" if folder else None
    if file and file.exists():
        with np.load(file) as kept:
            metric = Metric(kept["matrix"], kept["open_ended"], *map(float, kept["thresholds"]))
            rest = (kept[key] for key in ("vectors", "edit", "vector", "negative"))
            return GateState(metric, Exemplars(*rest), embed.name)
    prompts, _ = training_prompts(edits, pool, embed=embed if lent else None, most=GATE_WORDINGS)
    metric, exemplars = learn(embed, edits, prompts)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            file, matrix=metric.matrix, open_ended=metric.open_ended,
            thresholds=np.array([metric.threshold, metric.open_threshold]),
            vectors=exemplars.vectors, edit=exemplars.edit, vector=exemplars.vector,
            negative=exemplars.negative,
        )  # fmt: skip
    return GateState(metric, exemplars, embed.name)


def _asked(embed: CachedEmbedder, setting: Setting, config: ScopeConfig) -> dict[str, Any]:
    """Whether each text is right, by kind; and the microseconds of one text."""
    gate = RelationGate.of(setting.gate, embed, setting.edits, config)
    scope = Scope(setting.edits, gate, config)
    found: dict[str, Any] = {}
    for kind in setting.asked:
        fired = scope.fired(kind.texts)
        ids = [{e for mention in own for e in mention.edit_ids} for own in fired]
        found[kind.name] = [right(own) for right, own in zip(kind.right, ids, strict=True)]
    texts = [text for kind in setting.asked for text in kind.texts[:TIMED]]
    names = scope.with_gate(None)
    started = time.process_time()
    for text in texts:
        names.fired([text])
    found["us"] = round(1e6 * (time.process_time() - started) / len(texts))
    return found


def _told(setting: Setting, found: dict[str, Any], against: dict[str, Any]) -> dict[str, Any]:
    """Shares of right texts, and what the part wins and loses there."""
    told: dict[str, Any] = {"us_of_names": found["us"], "us_ratio": found["us"] / against["us"]}
    changed = {}
    for kind in setting.asked:
        own, other = found[kind.name], against[kind.name]
        pairs = list(zip(own, other, strict=True))
        gained = sum(a and not b for a, b in pairs)
        lost = sum(b and not a for a, b in pairs)
        told[kind.name] = {"texts": len(own), "right": sum(own), "gained": gained, "lost": lost}
        if gained or lost:
            changed[kind.name] = f"+{gained} -{lost}"
    return told | {"changed": changed}


def _overlap(embed: CachedEmbedder, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Held-out paraphrases that are wordings of the bank, and the gate without borrowed ones."""
    edits = EditSet.load(data)
    wordings = {same_wording(text.replace(SLOT, MASK)) for own in bank() for text in own.wordings}
    masked = [
        same_wording(text.replace(edit.subject, MASK)) for edit in edits for text in edit.generality
    ]
    same = [wording for wording in masked if wording in wordings]
    result: dict[str, Any] = {
        "paraphrases": len(masked), "literally_in_bank": len(same),
        "bank_wordings": len(wordings), "wordings_in_question": len({*same}),
    }  # fmt: skip
    rows = edits[:: options.every]
    asked = {
        "paraphrases": [(e.id, t) for e in rows for t in e.generality],
        "other questions": [(e.id, p.prompt) for e in rows for p in e.heldout_locality],
    }
    for name, lent in (("with", True), ("without", False)):
        state = _gate(embed, edits, edits, data.stem, options.gates, lent=lent)
        scope = Scope(edits, RelationGate.of(state, embed, edits))
        result[name] = {}
        for kind, pairs in asked.items():
            fired = scope.fired([text for _, text in pairs])
            ids = [{e for m in own for e in m.edit_ids} for own in fired]
            hits = [edit_id in own for (edit_id, _), own in zip(pairs, ids, strict=True)]
            result[name][kind] = {"texts": len(hits), "fired": sum(hits)}
    return result


if __name__ == "__main__":
    program(main)
