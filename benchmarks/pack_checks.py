"""General abilities and hard questions with a trained pack, through the command line.

    python benchmarks/pack_checks.py counterfact-10000.pack counterfact.jsonl --ability FOLDER

Writes what `lks robustness` (the first rows of the file) and `lks ability` (one task after the
other, in bfloat16: few-shot prompts are long) print, with --limit questions of a kind. What is
there is not made again.
"""

from __future__ import annotations

import argparse
import json

from _record import RESULTS, given, kept, lks, program

from lks.evaluation.provenance import provenance

TASKS = ("sst2", "cola", "mrpc", "rte", "gsm8k_test", "mmlu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=given)
    parser.add_argument("data", type=given)
    parser.add_argument("--ability", type=given)
    parser.add_argument("--tasks", nargs="*", default=TASKS, choices=TASKS)
    parser.add_argument("--limit", type=int, default=100)
    options = parser.parse_args()
    out = RESULTS / f"pack_checks-{options.pack.stem}.json"
    same = {"pack": options.pack.stem, "limit": options.limit}
    result = kept(out, same) or {**same, "made": {}}
    kinds = {"robustness": ["robustness", options.pack, "--data", options.data]}
    for task in options.tasks if options.ability else ():
        file = options.ability / f"{task}.jsonl"
        kinds[task] = ["ability", options.pack, file, "--dtype", "bfloat16"]
    for kind, words in kinds.items():
        if kind not in result:
            result[kind] = lks(*words, "--limit", options.limit, "--json")
            result["made"][kind] = provenance()
            out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            print(kind, result[kind], flush=True)


if __name__ == "__main__":
    program(main)
