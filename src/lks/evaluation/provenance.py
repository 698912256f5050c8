"""Where and with what a number was measured, to be kept beside it."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

import torch

PACKAGES = ("latent-knowledge-scalpel", "torch", "transformers")


class Provenance(TypedDict):
    """Kept among the keys of a result, as it is."""

    commit: str | None
    machine: str
    versions: dict[str, str]


def provenance() -> Provenance:
    """Commit, machine and versions; the commit is None if the package lies in no checkout."""
    return {
        "commit": _commit(Path(__file__)),
        "machine": _machine(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _machine() -> str:
    where = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():  # it was used
        where += f", {torch.cuda.get_device_name()}"
    return f"{where}, {torch.get_num_threads()} threads"


def _commit(file: Path) -> str | None:
    """The commit of the checkout that `file` belongs to, marked if its folder is changed."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *words], cwd=file.parent, capture_output=True, text=True, check=False
            )
        except OSError:  # no git
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", file.name) is None:  # an environment in some checkout
        return None
    commit, changed = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", ".")
    return f"{commit}-dirty" if commit and changed else commit
