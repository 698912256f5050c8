"""Edits in English, asked in eight other languages (BMIKE-53): which questions fire them.

    python benchmarks/languages.py ../../shared/data/languages/bmike53.jsonl

Each fact is an edit with its English question as the only wording; the entity's name in the other
language is an alias. All facts are in force at once. Counted are questions in which the name stands
literally: the fact's own question and its rephrased form, which must fire it, and the fact's
question about somebody else, which must fire nothing. Those that reach the fact through another one
are told beside them: what they ask is not the fact. Writes benchmarks/results/languages.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, given, program

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.evaluation.provenance import provenance
from lks.model.embedder import CachedEmbedder, Embedder
from lks.scope.gate.metric import GateState
from lks.scope.scope import Scope
from lks.scope.types import ids
from lks.training.gate_metric import learn
from lks.training.prompts import GATE_WORDINGS, training_prompts

ASKED = {"src": "question", "rephrase": "rephrased", "loc": "other", "port": "through it"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=given)
    parser.add_argument("--limit", type=int, help="facts")
    parser.add_argument("--out", type=Path, default=RESULTS / "languages.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = options.data.read_text(encoding="utf-8").splitlines()[: options.limit]
    rows = [json.loads(line) for line in lines]
    languages, embed = {}, CachedEmbedder(Embedder())
    for language in rows[0]["langs"]:
        own = [row for row in rows if language in row["langs"]]
        languages[language] = asked_in(language, own, embed)
        print(language, languages[language], flush=True)
    result = {**provenance(), "facts": len(rows), "languages": languages}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def asked_in(
    language: str, rows: Sequence[dict[str, Any]], embed: CachedEmbedder
) -> dict[str, Any]:
    """[fired, asked] for each kind of question, and the share in which the name stands."""
    edits = EditSet(edit_of(row, language) for row in rows)
    known = {edit.id for edit in edits}  # of two answers to one question the last holds
    rows = [row for row in rows if row["id"] in known]
    scope = gated(edits, embed)
    found: dict[str, Any] = {}
    for key, kind in ASKED.items():
        own = [row for row in rows if kind == "other" or names(row, language, key)]
        texts = [row["langs"][language][key] for row in own]
        fired = fired_in(scope, texts)
        right = [
            bool(ids_) if kind == "other" else row["id"] in ids_
            for row, ids_ in zip(own, fired, strict=True)
        ]
        found[kind] = [sum(right), len(right)]
    stands = sum(names(row, language, "src") for row in rows)
    return found | {"named": round(stands / len(rows), 4)}


def gated(edits: EditSet, embed: CachedEmbedder) -> Scope:
    """The scope that a pack of these edits would have."""
    prompts, _ = training_prompts(edits, embed=embed, most=GATE_WORDINGS)
    metric, exemplars = learn(embed, edits, prompts)
    return Scope(edits).gated(GateState(metric, exemplars, embed.name), embed, edits)


def edit_of(row: dict[str, Any], language: str) -> Edit:
    english, other = row["langs"]["en"], row["langs"][language]
    aliases = (other["subject"],) if other["subject"] != english["subject"] else ()
    return Edit(
        id=row["id"],
        subject=english["subject"],
        prompt=english["src"],
        target=english["alt"],
        aliases=aliases,
    )


def names(row: dict[str, Any], language: str, key: str) -> bool:
    """Whether the entity's name stands literally in a question."""
    told = row["langs"][language]
    known = (told["subject"], row["langs"]["en"]["subject"])
    return any(name.lower() in told[key].lower() for name in known)


def fired_in(scope: Scope, texts: Sequence[str]) -> list[set[str]]:
    return [set(ids(mentions)) for mentions in scope.fired(texts)]


if __name__ == "__main__":
    program(main)
