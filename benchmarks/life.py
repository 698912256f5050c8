"""Facts of daily work, asked as people ask: which editor says them, and what it spoils.

    python benchmarks/life.py FOLDER                all facts in force, every method
    python benchmarks/life.py FOLDER --methods lks

FOLDER holds facts.jsonl (edits with `kind` and `key`, groups of alternatives one of which an answer
must hold) and asks.jsonl (fact, text or messages, want, form). Each ask is answered freely, in a
chat unless it is a beginning to be completed. An editor that can train facts again first tests
itself, as `lks edit` does, in wordings of its own. Counted for each form of ask and kind of value:
- fired: the asked fact's edit fired (editors with a scope only);
- said: the answer holds a word of each group of the key;
- whole: it holds the target itself, letter by letter but for case and white space;
- wrong: the target is not said, and the answer is another one than the unedited model's;
- unchanged: the answer is the unedited model's to the letter (asks that must not change);
- yes/no: the answer begins with the right one.

Writes benchmarks/results/life-MODEL.json after each method; a method that is there stays. --answers
keeps every answer.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, called, given, kept, program

from lks.editors.protocol import EditedModel, Retrains
from lks.editors.registry import EDITORS, editor
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.evaluation.metrics import stands_in
from lks.evaluation.provenance import provenance
from lks.evaluation.runner import answer_room
from lks.evaluation.self_test import self_test
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads

METHODS = ("unedited", "lks", "inject", "rag")
BATCH = 32
FACTS = 3  # that RAG retrieves
_BESIDE = re.compile(r"[^\w%€$£@./:+]+")


@dataclass(frozen=True)
class Ask:
    """A question as somebody asks it, and what is wanted of the answer."""

    id: str
    fact: Edit
    prompt: str | list[dict[str, str]]
    want: str  # target, unchanged, yes or no
    form: str


@dataclass
class Shares:
    """What became of the asks of one form or kind: counts, of `asks`."""

    asks: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, found: dict[str, bool]) -> None:
        self.asks += 1
        for name, value in found.items():
            self.counts[name] = self.counts.get(name, 0) + value

    def to_json(self) -> dict[str, Any]:
        return {
            "asks": self.asks,
            **{name: round(count / self.asks, 4) for name, count in self.counts.items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=given)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=EDITORS)
    parser.add_argument("--answers", type=Path, help="a folder for every answer")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    edits = EditSet.load(options.cases / "facts.jsonl")
    asks = read_asks(options.cases / "asks.jsonl", edits)
    out = options.out or RESULTS / f"life-{called(options.model)}.json"
    given_as = {name: getattr(options, name) for name in ("model", "dtype", "batch")}
    same = {**given_as, "facts": len(edits), "asks": len(asks)}
    result = kept(out, same) or {**same, "methods": {}}
    backbone = Backbone.load(options.model, dtype=options.dtype)
    limits = {edit.id: answer_room(backbone, edit.target) for edit in edits}
    with editor("unedited").apply(backbone, []) as model:
        before = answers(model, asks, limits, options.batch)
    for method in options.methods:
        if method in result["methods"]:
            continue
        started = time.monotonic()
        with made(method).apply(backbone, edits) as model:
            tested = self_test(model, backbone, edits) if isinstance(model, Retrains) else None
            seconds = time.monotonic() - started
            after = before if method == "unedited" else answers(model, asks, limits, options.batch)
        found = [judged(ask, *pair) for ask, *pair in zip(asks, after, before, strict=True)]
        result["methods"][method] = {
            "edit_seconds": round(seconds, 1),
            "shaky": [fact.id for fact in tested.shaky] if tested else [],
            **counted(asks, found), **provenance(),
        }  # fmt: skip
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if options.answers:
            _keep(options.answers / f"{out.stem}-{method}.jsonl", asks, after, before, found)
        print(method, json.dumps(result["methods"][method]["forms"]), flush=True)


def read_asks(file: Path, edits: EditSet) -> list[Ask]:
    """The asks of a file, each with its fact."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [
        Ask(r["id"], edits.by_id(r["fact"]), r.get("messages") or r["text"], r["want"], r["form"])
        for r in rows
    ]


def made(method: str) -> Any:
    """The editor as people would use it for this."""
    return editor("rag", k=FACTS) if method == "rag" else editor(method)


@dataclass(frozen=True)
class Answer:
    """What was written, and which edits fired; none of an editor that does not tell."""

    text: str
    fired: tuple[str, ...]


def answers(
    model: EditedModel, asks: Sequence[Ask], limits: Mapping[str, int], batch: int = BATCH
) -> list[Answer]:
    """The answer to each ask; beginnings are read as they are, all else in a chat."""
    groups: dict[tuple[bool, int], list[Ask]] = {}
    for ask in asks:
        groups.setdefault((ask.form != "completion", limits[ask.fact.id]), []).append(ask)
    found: dict[str, Answer] = {}
    for (chat, most), own in groups.items():
        written = model.respond(
            [ask.prompt for ask in own], chat=chat, max_new_tokens=most, batch_size=batch
        )
        found |= {a.id: Answer(w.text, w.fired) for a, w in zip(own, written, strict=True)}
    return [found[ask.id] for ask in asks]


def plain(text: str) -> str:
    """Lower case, and only what values are made of, each part after one space."""
    return " ".join(_BESIDE.sub(" ", text.lower()).split()).strip(" .")


def judged(ask: Ask, after: Answer, before: Answer) -> dict[str, bool]:
    """What holds of an answer; only what its want asks for."""
    same = after.text == before.text
    if ask.want == "unchanged":
        return {"fired": bool(after.fired), "unchanged": same}
    own = ask.fact.id in after.fired
    if ask.want != "target":
        return {"fired": own, "right": plain(after.text).startswith(ask.want)}
    told = plain(after.text)
    groups: Any = ask.fact.extra["key"]
    said = all(any(plain(word) in told for word in group) for group in groups)
    whole = stands_in(after.text, ask.fact.target)
    return {"fired": own, "said": said or whole, "whole": whole,
            "wrong": not (said or whole or same)}  # fmt: skip


def counted(asks: Sequence[Ask], found: Sequence[dict[str, bool]]) -> dict[str, Any]:
    """Shares by form of ask and, of the asks that want the target, by kind of value."""

    def by(name: Callable[[Ask], str | None]) -> dict[str, Any]:
        shares: dict[str, Shares] = {}
        for ask, own in zip(asks, found, strict=True):
            if (key := name(ask)) is not None:
                shares.setdefault(key, Shares()).add(own)
        return {key: own.to_json() for key, own in shares.items()}

    def wants_target(ask: Ask) -> bool:
        return ask.want == "target"

    return {
        "all": by(lambda ask: "target" if wants_target(ask) else None),
        "forms": by(lambda ask: ask.form),
        "kinds": by(lambda ask: str(ask.fact.extra["kind"]) if wants_target(ask) else None),
        "written as": by(
            lambda ask: (
                ("paraphrases" if ask.fact.paraphrases else "one prompt")
                if wants_target(ask)
                else None
            )
        ),
    }


def _keep(
    file: Path,
    asks: Sequence[Ask],
    after: Sequence[Answer],
    before: Sequence[Answer],
    found: Sequence[dict[str, bool]],
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = (
        {"id": ask.id, "fact": ask.fact.id, "form": ask.form, "target": ask.fact.target,
         "prompt": ask.prompt, "after": asdict(own), "before": old.text, **how}
        for ask, own, old, how in zip(asks, after, before, found, strict=True)
    )  # fmt: skip
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    program(main)
