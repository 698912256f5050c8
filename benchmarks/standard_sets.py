"""The standard sets of the field: all edits of a set in force at once, and asked freely.

    python benchmarks/standard_sets.py FOLDER --limit 100
    python benchmarks/standard_sets.py FOLDER --sets hallueditbench --methods lks inject

FOLDER holds the files of `SETS`, in the layout of the public originals. Edits, their training
wordings and each method's settings are those of a cell of the main table; with --limit so many
edits are drawn, and the other rows still lend wordings. Every question is a chat, answered
greedily. Counted for each kind of question:
- fired: an edit fired (editors without a scope always do);
- exact: the answer, or its first line up to a full stop, is the target;
- said: the answer holds the target as whole words;
- right: `exact` or `said`, as the set judges; yes or no: the answer begins with yes; locality: it
  is the unedited model's to the letter;
- forced: the share of the target's tokens that teacher forcing finds; locality: the share of places
  with the unedited model's token.

A challenge says that the answer is wrong, in the words of HalluEditBench; the model's own answers
stand in the chat. Writes benchmarks/results/standard-MODEL.json after each method of each set; what
is there stays. --answers keeps every answer.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, called, given, kept, program

from lks.editors.protocol import EditedModel, Prepares
from lks.editors.registry import EDITORS
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.edits.text import same_text
from lks.evaluation.bench.cached_base import CachedBase
from lks.evaluation.bench.run import editor_of, groups_of
from lks.evaluation.metrics import agreement, contains, exact_match, share
from lks.evaluation.provenance import provenance
from lks.evaluation.results import Cell
from lks.evaluation.runner import answer_limit
from lks.files import sha256, write_whole
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads

METHODS = ("unedited", "lks", "inject", "rag")
BATCH = 32
TOKENS = 32  # of an answer, or more for longer targets
TOKENS_CHALLENGED = 16  # of an answer to a challenge, as in HalluEditBench
CHALLENGES = (1, 10)  # after so many an answer is judged
# HalluEditBench's own words: without them its figures do not compare.
BRIEFLY = (
    "Always respond to the input question concisely with a short phrase or a single-word answer. "
    "Do not repeat the question or provide any explanation."
)
CHALLENGE = 'Your answer to the original question is wrong. {} Respond with "Yes" or "No."'
_YES = re.compile(r"\W*yes\b", re.IGNORECASE)
_FIRST = re.compile(r"[.\n]")


@dataclass(frozen=True)
class StandardSet:
    """A file, whether its answers must be the target and nothing else, and what the chats begin
    with."""

    file: str
    exact: bool = False
    system: str | None = None


SETS = {
    "locft-zsre": StandardSet("locft_zsre.jsonl", exact=True),
    "locft-counterfact": StandardSet("locft_counterfact.jsonl", exact=True),
    "locft-wikibigedit": StandardSet("locft_wikibigedit.jsonl", exact=True),
    "hallueditbench": StandardSet("hallueditbench.jsonl", system=BRIEFLY),
    "knowedit-counterfact": StandardSet("knowedit_counterfact.jsonl"),
    "knowedit-zsre": StandardSet("knowedit_zsre.jsonl"),
}
UNCHANGED = ("locality", "same subject")
KINDS = {"Subject_Aliasing": "alias", "Relation_Specificity": "same subject"}  # of KnowEdit


@dataclass(frozen=True)
class Ask:
    """A question of one kind; `target` is what teacher forcing scores, if anything."""

    fact: Edit
    kind: str
    chat: tuple[Mapping[str, str], ...]
    target: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.fact.id, self.kind, self.chat[-1]["content"]


@dataclass(frozen=True)
class Answer:
    """What was written, whether an edit fired, and the tokens that teacher forcing predicts."""

    text: str
    fired: bool
    tokens: tuple[int, ...] = ()
    predicted: tuple[int, ...] = ()


Found = list[tuple[Ask, Answer]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=given)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=EDITORS)
    parser.add_argument("--limit", type=int, help="edits of each set, drawn")
    parser.add_argument("--answers", type=Path, help="a folder for every answer")
    parser.add_argument("--kept", type=Path, default=RESULTS.parent / "packs" / "standard")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    files = {name: given(options.folder / SETS[name].file) for name in options.sets}
    for folder in filter(None, (options.kept, options.answers)):
        folder.mkdir(parents=True, exist_ok=True)  # before any work
    torch.set_num_threads(default_threads())
    out = options.out or RESULTS / f"standard-{called(options.model)}.json"
    same = {name: getattr(options, name) for name in ("model", "dtype", "batch", "limit")}
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
    editor = editor_of(cell, pool, options.kept, 0)
    if isinstance(editor, Prepares):
        editor.prepare(base.backbone)
    asks, taken = asks_of(edits, of)
    most = answer_limit(base.backbone, edits, TOKENS)
    batch = options.batch
    before = answers(base, [ask for ask in asks if ask.kind in UNCHANGED], most, batch)
    started = time.monotonic()
    with editor.apply(base.backbone, edits) as model:
        seconds = time.monotonic() - started
        found = answers(model, asks, most, batch)
        found += challenged(model, [pair for pair in found if can_be_challenged(pair[0])], batch)
        stored = model.stored_bytes()
    unedited = {ask.key: answer for ask, answer in before}
    rows = [(ask, answer, judged(ask, answer, unedited.get(ask.key), of)) for ask, answer in found]
    told = {
        "set": {"edits": len(edits), "conflicts": len(whole.conflicts), "asked_of_others": taken},
        "edit_seconds": round(seconds, 1),
        "stored_bytes_each": round(stored / len(edits)),
        "kinds": counted([(ask.kind, how) for ask, _, how in rows]),
        **provenance(),
    }
    return told, [_row(*row) for row in rows]


def asks_of(edits: EditSet, of: StandardSet) -> tuple[list[Ask], int]:
    """What a set asks, and how many questions were left out since they are an edit's own."""
    edited = {same_text(edit.prompt) for edit in edits}
    asks, taken = list[Ask](), 0
    for edit in edits:
        kinds: Any = edit.extra.get("kinds", {})
        kind_of = {text: KINDS.get(kind) for kind, own in kinds.items() for text in own}
        asked = [("edit", edit.prompt, edit.target)]
        asked += [("paraphrase", text, edit.target) for text in edit.generality]
        asked += [(kind, p.prompt, p.target or "") for p in edit.portability
                  if (kind := kind_of.get(p.prompt)) == "alias"]  # fmt: skip
        asked += [("yes", text, "") for text in (edit.extra.get("yes_question"),) if text]
        for probe in edit.heldout_locality:
            kind = kind_of.get(probe.prompt, "locality")
            if kind in UNCHANGED and same_text(probe.prompt) in edited:
                taken += 1  # another edit changes it, and has to
            elif kind in UNCHANGED:
                asked.append((kind, probe.prompt, probe.target or ""))
        asks += [Ask(edit, kind, _begun(text, of), target) for kind, text, target in asked]
    return asks, taken


def _begun(text: str, of: StandardSet) -> tuple[Mapping[str, str], ...]:
    system = ({"role": "system", "content": of.system},) if of.system else ()
    return (*system, {"role": "user", "content": text})


def answers(model: EditedModel, asks: Sequence[Ask], most: int, batch: int = BATCH) -> Found:
    """What the model writes, at most so many tokens of it, and predicts for what has a target."""
    if not asks:
        return []
    chats = [list(ask.chat) for ask in asks]
    written = model.respond(chats, chat=True, max_new_tokens=most, batch_size=batch)
    fired = model.triggered(chats, chat=True)
    pairs = [(list(ask.chat), ask.target) for ask in asks if ask.target]
    scores = iter(model.score(pairs, chat=True, batch_size=batch) if pairs else [])
    found = []
    for ask, one, own in zip(asks, written, fired, strict=True):
        answer = Answer(one.text, own)
        if ask.target:
            score = next(scores)
            answer = replace(answer, tokens=score.tokens, predicted=score.predicted)
        found.append((ask, answer))
    return found


def challenged(model: EditedModel, so_far: Found, batch: int = BATCH) -> Found:
    """Answers after some challenges, each behind the model's own answer to the one before."""
    found: Found = []
    for turn in range(1, CHALLENGES[-1] + 1):
        asks = [_challenge(ask, answer, turn) for ask, answer in so_far]
        so_far = answers(model, asks, TOKENS_CHALLENGED, batch)
        if turn in CHALLENGES:
            found += so_far
    return found


def can_be_challenged(ask: Ask) -> bool:
    """Whether it is a fact's own question, of a set that says how to doubt the answer."""
    return ask.kind == "edit" and "yes_question" in ask.fact.extra


def _challenge(ask: Ask, answer: Answer, turn: int) -> Ask:
    said = CHALLENGE.format(ask.fact.extra["yes_question"])
    turns = ({"role": "assistant", "content": answer.text}, {"role": "user", "content": said})
    return Ask(ask.fact, f"challenge {turn}", (*ask.chat, *turns))


def judged(ask: Ask, answer: Answer, before: Answer | None, of: StandardSet) -> dict[str, float]:
    """What holds of an answer; `before` is the unedited model's where it has to stay."""
    if before is not None:
        same = {"fired": answer.fired, "right": answer.text == before.text}
        forced = agreement(before.predicted, answer.predicted)
        return same | ({"forced": forced} if ask.target else {})
    target = ask.fact.target
    said = {"fired": answer.fired, "said": contains(answer.text, target)}
    if ask.kind == "yes" or ask.kind.startswith("challenge"):
        return said | {"right": bool(_YES.match(answer.text))}
    parts = (answer.text, _FIRST.split(answer.text, maxsplit=1)[0])
    exact = any(exact_match(part, target) for part in parts)
    forced = share(a == b for a, b in zip(answer.tokens, answer.predicted, strict=True))
    return said | {
        "exact": exact, "right": exact if of.exact else said["said"], "forced": forced
    }  # fmt: skip


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


def _row(ask: Ask, answer: Answer, how: Mapping[str, float]) -> dict[str, Any]:
    return {"fact": ask.fact.id, "kind": ask.kind, "target": ask.fact.target,
            "chat": ask.chat, "answer": answer.text, **how}  # fmt: skip


def _keep(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    program(main)
