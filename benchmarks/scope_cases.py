"""Hand-written cases of the edit scope: which edits fire in a text, by kind of case.

    python benchmarks/scope_cases.py FOLDER

FOLDER holds edits.jsonl and cases.jsonl (id, kind, text or messages, fires, perhaps open: edits
that may fire or not). All edits are in force, with the scope that `lks edit` would give them. A
case is right if just the edits that it names fire. Writes benchmarks/results/scope_cases.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, given, program

from lks.edits.edit_set import EditSet
from lks.evaluation.provenance import provenance
from lks.scope.normalizer import BETWEEN
from lks.scope.types import ids
from lks.training.train_pack import scope_of

NAME_FORMS = "name form of this language"  # of cases whose names are no aliases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=given)
    parser.add_argument("--out", type=Path, default=RESULTS / "scope_cases.json")
    parser.add_argument("--verbose", action="store_true", help="print the wrong ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    edits = EditSet.load(options.cases / "edits.jsonl")
    rows = [
        json.loads(line)
        for line in (options.cases / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    scope = scope_of(edits)
    texts = [text_of(row) for row in rows]
    started = time.process_time()
    fired = [set(ids(mentions)) for mentions in scope.fired(texts)]
    spent = time.process_time() - started
    right = [is_right(row, own) for row, own in zip(rows, fired, strict=True)]
    result = {
        **provenance(),
        "edits": len(edits),
        "ms_a_text": round(1e3 * spent / len(texts), 1),
        "kinds": _by_kind(rows, right),
    }
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for row, own, good in zip(rows, fired, right, strict=True):
        if options.verbose and not good:
            print(row["kind"], row["id"], "wanted", row["fires"], "fired", sorted(own))
    print(json.dumps(result["kinds"], indent=1))


def text_of(row: dict[str, Any]) -> str:
    """What a scope is given of a case."""
    return row["text"] if "text" in row else BETWEEN.join(m["content"] for m in row["messages"])


def is_right(row: dict[str, Any], fired: set[str]) -> bool:
    """Whether just those fired that the case names, and perhaps those that it leaves open."""
    return set(row["fires"]) == fired - set(row.get("open", ()))


def _by_kind(rows: list[dict[str, Any]], right: list[bool]) -> dict[str, Any]:
    """Right cases of each kind, of those that must fire and of those that must not."""
    kinds: dict[str, Any] = {}
    for row, good in zip(rows, right, strict=True):
        foreign = NAME_FORMS in row.get("note", "")
        names = ["all", row["kind"], "foreign name forms" if foreign else "all others"]
        for name in names:
            own = kinds.setdefault(name, {"cases": 0, "right": 0, "fire": [0, 0], "not": [0, 0]})
            own["cases"] += 1
            own["right"] += good
            side = own["fire" if row["fires"] else "not"]
            side[0] += good
            side[1] += 1
    return kinds


if __name__ == "__main__":
    program(main)
