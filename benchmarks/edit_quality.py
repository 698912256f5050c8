"""Trains and scores packs on benchmark files through the command line, and records how.

    python benchmarks/edit_quality.py zsre.jsonl counterfact.jsonl --limit 100 --preset default

Writes one JSON file a data set and preset to benchmarks/results: scores with plain prompts for the
first 200 rows, in a chat for the first 32, all edits in force, texts cut after 16 tokens. A result
that is there is not made again; packs are kept, and a training run that was cut off goes on. The
data are described in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from _record import RESULTS, given, kept, lks, program

from lks.evaluation.provenance import provenance

PLAIN_ROWS, CHAT_ROWS = 200, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=given)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--packs", type=Path, default=RESULTS.parent / "packs")
    options = parser.parse_args()
    for data in options.data:
        name = f"{data.stem}-{options.limit}-{options.preset}"
        out = RESULTS / f"edit_quality-{name}.json"
        if not kept(out, {"seed": options.seed, "model": options.model}):
            result = _result(data, options.packs / f"{name}.pack", options)
            RESULTS.mkdir(exist_ok=True)
            out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            print(out, json.dumps(result["plain"]["teacher_forced"]))


def _result(data: Path, pack: Path, options: argparse.Namespace) -> dict[str, Any]:
    if not pack.exists():
        checkpoint = pack.with_name(pack.name + ".checkpoint")
        lks(
            "edit", data, "--out", pack, "--model", options.model, "--preset", options.preset,
            "--seed", options.seed, "--limit", options.limit, "--json", "--no-self-test",
            *(["--resume"] if checkpoint.exists() else []),
        )  # fmt: skip
    info = lks("pack", "info", pack, "--json")
    score = ["eval", pack, "--data", data, "--max-new-tokens", 16, "--json", "--limit"]
    return {
        "data": data.name, "limit": options.limit, "preset": options.preset,
        "seed": options.seed, "model": options.model, **provenance(),
        "train": {"layer": info["layers"][0], **info["training"]},
        "pack_bytes": sum(file.stat().st_size for file in pack.iterdir() if file.is_file()),
        "plain": lks(*score, min(PLAIN_ROWS, options.limit)),
        "chat": lks(*score, min(CHAT_ROWS, options.limit), "--chat"),
    }  # fmt: skip


if __name__ == "__main__":
    program(main)
