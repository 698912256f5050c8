"""The standard sets of the field: all edits of a set in force at once, and asked freely.

    python benchmarks/standard_sets.py FOLDER --limit 100
    python benchmarks/standard_sets.py FOLDER --sets hallueditbench --methods lks inject
    python benchmarks/standard_sets.py FOLDER --deep --methods told lks

FOLDER holds the files of `SETS`, in the layout of the public originals. Edits, their training
wordings and each method's settings are those of a cell of the main table; with --limit so many
edits are drawn, and the other rows still lend wordings. Every question is a chat, answered
greedily. Counted for each kind of question:
- fired: an edit fired (editors without a scope always do);
- exact: the answer, or its first line up to a full stop, is the target;
- said: the answer holds the target as whole words;
- right: `exact` or `said`, as the set judges; yes or no: the answer begins with it; locality: it
  is the unedited model's to the letter;
- forced: the share of the target's tokens that teacher forcing finds; locality: the share of places
  with the unedited model's token.

A challenge says that the answer is wrong, in the words of HalluEditBench; the model's own answers
stand in the chat. --challenged does this with the first edits only. With --deep it is asked too
what follows from the facts, a yes-or-no question about a wrong value, and what the set calls
forgetfulness. The method `told` is no editor: it puts the asked fact before each question, which is
the most that can be expected of an editor. Writes benchmarks/results/standard-MODEL.json
(depth-MODEL.json) after each method of each set; what is there stays. --answers keeps every answer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _asked import (
    SETS,
    UNCHANGED,
    Answer,
    Ask,
    StandardSet,
    asks_of,
    can_be_challenged,
    challenge,
    judged,
)
from _record import RESULTS, called, given, kept, program

from lks.editors.baselines.in_context import FACT, fact
from lks.editors.protocol import EditedModel, Prepares
from lks.editors.registry import EDITORS
from lks.edits.edit_set import EditSet
from lks.evaluation.bench.cached_base import CachedBase
from lks.evaluation.bench.run import editor_of, groups_of
from lks.evaluation.provenance import provenance
from lks.evaluation.results import Cell
from lks.evaluation.runner import answer_limit
from lks.files import sha256, write_whole
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads

METHODS = ("unedited", "lks", "inject", "rag")
TOLD = "told"  # no editor: each question is asked behind its own fact
BATCH = 32
TOKENS = 32  # of an answer, or more for longer targets
TOKENS_CHALLENGED = 16  # of an answer to a challenge, as in HalluEditBench
CHALLENGES = (1, 10)  # after so many an answer is judged
Found = list[tuple[Ask, Answer]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=given)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=[*EDITORS, TOLD])
    parser.add_argument("--deep", action="store_true", help="ask what follows from the facts too")
    parser.add_argument("--limit", type=int, help="edits of each set, drawn")
    parser.add_argument(
        "--challenged", type=int, help="so many edits; all that can be, if not given"
    )
    parser.add_argument("--answers", type=Path, help="a folder for every answer")
    parser.add_argument("--kept", type=Path, default=RESULTS.parent / "packs" / "standard")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    files = {name: given(options.folder / SETS[name].file) for name in options.sets}
    for folder in filter(None, (options.kept, options.answers)):
        folder.mkdir(parents=True, exist_ok=True)  # before any work
    torch.set_num_threads(default_threads())
    out = (
        options.out
        or RESULTS / f"{'depth' if options.deep else 'standard'}-{called(options.model)}.json"
    )
    same = {name: getattr(options, name) for name in ("model", "dtype", "batch", "limit", "deep")}
    if options.challenged is not None:
        same["challenged"] = options.challenged
    same |= {"seed": 0}
    result = kept(out, same) or {**same, "sets": {}}
    backbone = Backbone.load(options.model, dtype=options.dtype)
    if not backbone.has_chat:
        raise SystemExit(f"{options.model} has no chat template; name a model that has one")
    base = CachedBase(backbone, options.kept / f"{called(options.model)}.cache")
    for name, file in files.items():
        own = result["sets"].setdefault(name, {"sha256": sha256(file), "methods": {}})
        if own["sha256"] != sha256(file):
            raise SystemExit(f"{out}: {file.name} was another file then; move the result away")
        for method in options.methods:
            if method in own["methods"]:
                continue
            told, found = measured(method, file, SETS[name], base, options)
            own |= told.pop("set")
            own["methods"][method] = told
            write_whole(out, (json.dumps(result, indent=1) + "\n").encode())
            if options.answers:
                _keep(options.answers / f"{out.stem}-{name}-{method}.jsonl", found)
            print(name, method, json.dumps(told["kinds"]), flush=True)


def measured(
    method: str, file: Path, of: StandardSet, base: CachedBase, options: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A method on a set: what to keep of it, and every answer."""
    whole = EditSet.load(file)
    size = min(options.limit or len(whole), len(whole))
    cell = Cell(method, str(file), size, rows=size, model=options.model)
    edits, pool = next(groups_of(cell))
    told = method == TOLD
    editor = editor_of(replace(cell, method="unedited") if told else cell, pool, options.kept, 0)
    if isinstance(editor, Prepares):
        editor.prepare(base.backbone)
    asks, taken = asks_of(edits, of, deep=options.deep)
    most = answer_limit(base.backbone, edits, TOKENS)
    batch = options.batch
    unchanged = [ask for ask in asks if ask.kind in UNCHANGED]
    before = answers(base, unchanged, most, batch)
    started = time.monotonic()
    with editor.apply(base.backbone, edits) as model:
        seconds = time.monotonic() - started
        found = answers(model, [a for a in asks if a.kind not in UNCHANGED], most, batch, told=told)
        doubted = [pair for pair in found if can_be_challenged(pair[0])][: options.challenged]
        found += challenged(model, doubted, batch, told=told)
        # In batches of their own: in other ones than before, last bits and so answers may differ.
        found += answers(model, unchanged, most, batch, told=told)
        stored = model.stored_bytes()
    unedited = {ask.key: answer for ask, answer in before}
    rows = [(ask, answer, judged(ask, answer, unedited.get(ask.key), of)) for ask, answer in found]
    result = {
        "set": {"edits": len(edits), "conflicts": len(whole.conflicts), "asked_of_others": taken},
        "edit_seconds": round(seconds, 1),
        "stored_bytes_each": round(stored / len(edits)),
        "kinds": counted([(ask.kind, how) for ask, _, how in rows]),
        "rights": rights([(ask.kind, how) for ask, _, how in rows]),
        **provenance(),
    }
    return result, [_row(*row) for row in rows]


def answers(
    model: EditedModel, asks: Sequence[Ask], most: int, batch: int = BATCH, *, told: bool = False
) -> Found:
    """What the model writes, at most so many tokens of it, and predicts for what has a target.

    Args:
        told: whether the fact that is asked for stands in the user's first turn.
    """
    if not asks:
        return []
    chats = [_told(ask) if told else list(ask.chat) for ask in asks]
    written = model.respond(chats, chat=True, max_new_tokens=most, batch_size=batch)
    fired = model.triggered(chats, chat=True)
    pairs = [(chat, ask.target) for chat, ask in zip(chats, asks, strict=True) if ask.target]
    scores = iter(model.score(pairs, chat=True, batch_size=batch) if pairs else [])
    found = []
    for ask, one, own in zip(asks, written, fired, strict=True):
        answer = Answer(one.text, own)
        if ask.target:
            score = next(scores)
            answer = replace(answer, tokens=score.tokens, predicted=score.predicted)
        found.append((ask, answer))
    return found


def _told(ask: Ask) -> list[Mapping[str, str]]:
    turns, first = list(ask.chat), next(i for i, t in enumerate(ask.chat) if t["role"] == "user")
    said = FACT.format(fact(ask.fact)) + turns[first]["content"]
    turns[first] = {"role": "user", "content": said}
    return turns


def challenged(
    model: EditedModel, so_far: Found, batch: int = BATCH, *, told: bool = False
) -> Found:
    """Answers after some challenges, each behind the model's own answer to the one before."""
    found: Found = []
    for turn in range(1, CHALLENGES[-1] + 1):
        asks = [challenge(ask, answer, turn) for ask, answer in so_far]
        so_far = answers(model, asks, TOKENS_CHALLENGED, batch, told=told)
        if turn in CHALLENGES:
            found += so_far
    return found


def counted(found: Sequence[tuple[str, dict[str, float]]]) -> dict[str, Any]:
    """For each kind how many were asked, and the mean of what was judged."""
    kinds: dict[str, list[dict[str, float]]] = {}
    for kind, how in found:
        kinds.setdefault(kind, []).append(how)
    return {
        kind: {"asks": len(own)} | {
            name: round(sum(values) / len(values), 4)
            for name in dict.fromkeys(name for how in own for name in how)
            if (values := [how[name] for how in own if name in how])
        }
        for kind, own in kinds.items()
    }  # fmt: skip


def rights(found: Sequence[tuple[str, dict[str, float]]]) -> dict[str, str]:
    """For each kind a 1 or 0 for each ask, in their order: right or not."""
    kinds: dict[str, str] = {}
    for kind, how in found:
        kinds[kind] = kinds.get(kind, "") + str(int(how["right"]))
    return kinds


def _row(ask: Ask, answer: Answer, how: Mapping[str, float]) -> dict[str, Any]:
    return {"fact": ask.fact.id, "kind": ask.kind, "target": ask.fact.target,
            "chat": ask.chat, "answer": answer.text, **how}  # fmt: skip


def _keep(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    program(main)
