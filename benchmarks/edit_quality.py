"""Trains and scores packs on benchmark files through the command line, and records how.

    python benchmarks/edit_quality.py zsre.jsonl counterfact.jsonl --limit 100 --preset default

Writes one JSON file a data set and preset to benchmarks/results. A result that is there is not made
again. The data are described in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    for data in options.data:
        out = RESULTS / f"edit_quality-{data.stem}-{options.limit}-{options.preset}.json"
        if out.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            pack = Path(folder) / "pack"
            common = ["--limit", options.limit, "--json"]
            trained = _lks(
                "edit", data, "--out", pack, "--model", options.model, "--preset", options.preset,
                "--seed", options.seed, *common,
            )  # fmt: skip
            trained["pack_bytes"] = sum(file.stat().st_size for file in pack.iterdir())
            trained["settings"] = _lks("pack", "info", pack, "--json")["training"]["config"]
            plain = _lks("eval", pack, "--data", data, *common)
            chat = _lks("eval", pack, "--data", data, "--chat", *common)
        result = {
            "data": data.name, "limit": options.limit, "preset": options.preset,
            "seed": options.seed, "model": options.model, **_environment(),
            "train": trained, "plain": plain, "chat": chat,
        }  # fmt: skip
        RESULTS.mkdir(exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(out, json.dumps(plain["teacher_forced"]))


def _lks(*words: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "lks", *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def _environment() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=RESULTS.parent, stdout=subprocess.PIPE, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    packages = ("torch", "transformers", "latent-knowledge-scalpel")
    return {
        "commit": commit,
        "machine": f"{platform.machine()}, {_cores()} cores, no GPU used",
        "versions": {name: version(name) for name in packages},
    }


def _cores() -> int:
    from lks.backbone import default_threads

    return default_threads()


if __name__ == "__main__":
    main()
