"""Long texts about edited entities: are the new facts in them, and the old ones no more?

    python benchmarks/long_texts.py counterfact.jsonl
    python benchmarks/long_texts.py counterfact.jsonl --model qwen2.5-coder-1.5b --dtype bfloat16

Edits and each method's settings are those of a cell of the main table, all of them in force at
once. Each entity is asked for in three open requests, which may say nothing of the fact, and in two
that ask for it. Every request is a chat, answered greedily. Judged by each text:
- new, old: it states the new value, or the one that the model had before, as whole words;
- fired: an edit fired, in the prompt or in the text;
- kept: of the names and numbers in the unedited model's text, apart from the old value, the share
  that it has too;
- repeats: the share of its runs of four words that it has had before;
- words: how many it has, for each of the unedited model's.

The method `told` is no editor: it puts the asked fact before each request. `lks own` looks through
the model's own words too, as they are written. Writes benchmarks/results/long_texts-FILE-MODEL.json
after each method; what is there stays. --texts keeps every text.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, called, given, kept, program

from lks.editors.baselines.in_context import FACT, fact
from lks.editors.protocol import EditedModel, Prepares
from lks.editors.registry import EDITORS
from lks.edits.edit import Edit
from lks.edits.text import same_text
from lks.evaluation.bench.cached_base import CachedBase
from lks.evaluation.bench.run import editor_of, groups_of
from lks.evaluation.metrics import contains
from lks.evaluation.provenance import provenance
from lks.evaluation.results import Cell
from lks.files import write_whole
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads

REQUESTS = {
    "open": (
        "Tell me about {subject}.",
        "Write a short article about {subject}.",
        "Write a letter to a friend in which you introduce {subject}.",
    ),
    "asked": (
        'Write a paragraph about {subject} in which the sentence "{prompt} ..." is completed.',
        "Tell me about {subject}, and end with this sentence, completed: {prompt} ...",
    ),
}
METHODS = ("unedited", "told", "lks", "lks own", "inject")
TOLD, OWN = "told", "lks own"
_NAMES = re.compile(r"\d[\d.,]*\d|\d|(?<![.!?:] )(?<!^)\b[A-Z]\w+(?: [A-Z]\w+)*", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=given)
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--limit", type=int, default=50, help="edits that are asked for")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=[*EDITORS, TOLD, OWN])
    parser.add_argument("--texts", type=Path, help="a folder for every text")
    parser.add_argument("--kept", type=Path, default=RESULTS.parent / "packs" / "long_texts")
    options = parser.parse_args()
    for folder in filter(None, (options.kept, options.texts)):
        folder.mkdir(parents=True, exist_ok=True)  # before any work
    torch.set_num_threads(default_threads())
    out = RESULTS / f"long_texts-{options.data.stem}-{called(options.model)}.json"
    names = ("edits", "limit", "tokens", "batch", "model", "dtype")
    same = {"data": options.data.name, "seed": 0, **{n: getattr(options, n) for n in names}}
    result = kept(out, same) or {**same, "methods": {}}
    backbone = Backbone.load(options.model, dtype=options.dtype)
    base = CachedBase(backbone, options.kept / f"{called(options.model)}.cache")
    for method in options.methods:
        if method in result["methods"]:
            continue
        told, texts = measured(method, base, options)
        result["methods"][method] = told
        write_whole(out, (json.dumps(result, indent=1) + "\n").encode())
        if options.texts:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in texts)
            (options.texts / f"{out.stem}-{method}.jsonl").write_text(lines, encoding="utf-8")
        print(method, json.dumps(told["kinds"]), flush=True)


def measured(
    method: str, base: CachedBase, options: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A method's texts: what to keep of them, and every one."""
    cell = Cell("lks" if method == OWN else method, str(options.data), options.edits)
    cell = replace(cell, model=options.model)
    edits, pool = next(groups_of(cell))
    plain = replace(cell, method="unedited") if method == TOLD else cell
    editor = editor_of(plain, pool, options.kept, 0)
    if isinstance(editor, Prepares):
        editor.prepare(base.backbone)
    asked = requests(edits, options.limit)
    prompts = [text for _, _, text in asked]
    given = [FACT.format(fact(edit)) + text for edit, _, text in asked]
    before = written(base, prompts, options)
    with editor.apply(base.backbone, edits) as model:
        started = time.monotonic()
        own = {"rescan": True} if method == OWN else {}
        after = written(model, given if method == TOLD else prompts, options, **own)
        seconds = time.monotonic() - started
    rows = [
        {"fact": edit.id, "kind": kind, "request": text, "text": new, "fired": fired,
         **judged(edit, old, new), "fires": float(bool(fired))}
        for (edit, kind, text), (old, _), (new, fired) in zip(asked, before, after, strict=True)
    ]  # fmt: skip
    kinds = {kind: means([row for row in rows if row["kind"] == kind]) for kind in REQUESTS}
    return {"kinds": kinds, "seconds": round(seconds, 1), **provenance()}, rows


def requests(edits: Sequence[Edit], limit: int) -> list[tuple[Edit, str, str]]:
    """(edit, kind, text) of each request for the first edits that tell the value before them."""
    known = [edit for edit in edits if edit.ground_truth][:limit]
    return [
        (edit, kind, form.format(subject=edit.subject, prompt=edit.prompt))
        for edit in known
        for kind, forms in REQUESTS.items()
        for form in forms
    ]


def written(
    model: EditedModel, prompts: Sequence[str], options: Any, **own: bool
) -> list[tuple[str, list[str]]]:
    """(text, edits that fired) behind each prompt."""
    texts = model.respond(
        prompts, chat=True, max_new_tokens=options.tokens, batch_size=options.batch, **own
    )
    return [(text.text, list(text.fired)) for text in texts]


def judged(edit: Edit, before: str, text: str) -> dict[str, float]:
    """How a text is, beside that of the unedited model."""
    old = edit.ground_truth or ""
    names = {same_text(name) for name in _NAMES.findall(before)} - {same_text(old)}
    there = {same_text(name) for name in _NAMES.findall(text)}
    words = same_text(text).split()
    runs = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return {
        "new": float(contains(text, edit.target)),
        "old": float(contains(text, old)),
        "kept": len(names & there) / len(names) if names else 1.0,
        "repeats": 1 - len({*runs}) / len(runs) if runs else 0.0,
        "words": len(words) / max(1, len(same_text(before).split())),
    }


def means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    names = ("new", "old", "fires", "kept", "repeats", "words")
    told = {name: round(sum(row[name] for row in rows) / len(rows), 4) for name in names}
    return {"texts": len(rows), **told}


if __name__ == "__main__":
    program(main)
