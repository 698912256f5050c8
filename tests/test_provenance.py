"""What is written beside a measured number."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lks.evaluation import provenance


def test_a_commit_is_told_only_of_the_packages_own_checkout(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        own = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(own, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    package, results = tmp_path / "package", tmp_path / "results"
    for folder in (package, results):
        folder.mkdir()
        (folder / "file").write_text("1")
    assert provenance._commit(package / "file") is None
    git("init")
    git("add", "results")
    git("commit", "-m", "first")
    assert provenance._commit(package / "file") is None  # an environment inside a checkout
    git("add", ".")
    git("commit", "-m", "second")
    (results / "file").write_text("2")
    commit = git("rev-parse", "--short=12", "HEAD").strip()
    assert provenance._commit(package / "file") == commit
    (package / "file").write_text("2")
    assert provenance._commit(package / "file") == f"{commit}-dirty"


def test_machine_and_versions() -> None:
    made = provenance.provenance()
    assert "threads" in made["machine"] and "torch" in made["versions"]
