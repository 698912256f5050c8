"""Where and with what a benchmark ran."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def environment() -> dict[str, Any]:
    """Commit, machine and versions, to be put into every result."""
    from lks.backbone import default_threads

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=RESULTS.parent, stdout=subprocess.PIPE, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    packages = ("torch", "transformers", "latent-knowledge-scalpel")
    return {
        "commit": commit,
        "machine": f"{platform.machine()}, {default_threads()} cores, no GPU used",
        "versions": {name: version(name) for name in packages},
    }
