"""The documents say what the results, the code and the commands say."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import lks

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
SHORT_STORY = ("README.md", "docs/index.md", "docs/benchmarks.md", "docs/rag.md")


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("tables")


@pytest.mark.parametrize("program", ["tables.py", "plots.py"])
def test_tables_and_plots_are_those_of_the_results(program: str) -> None:
    command = [sys.executable, str(BENCHMARKS / program), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_another_number_in_a_page_is_seen_and_mended(tables: ModuleType) -> None:
    page = (ROOT / "docs" / "benchmarks" / "comparison.md").read_text(encoding="utf-8")
    assert page.count("<!-- table: ") == len(re.findall(tables.BLOCK, page)) >= 10
    wrong = page.replace("| **LKS** | 0.983 |", "| **LKS** | 0.999 |")
    assert wrong != page
    assert tables.filled(wrong) == page
    with pytest.raises(KeyError, match="nothing"):
        tables.filled("<!-- table: nothing -->\n<!-- end -->")


def test_results_with_the_leak_are_marked_and_no_part_of_the_short_story(
    tables: ModuleType,
) -> None:
    results = importlib.import_module("_results")
    marked = [row for row in results.comparison() if row["name"].endswith("†")]
    assert {(row["method"], row["data"], row["size"]) for row in marked} == results.LEAKY
    shown = (ROOT / "docs" / "benchmarks" / "comparison.md").read_text(encoding="utf-8")
    for row in marked:
        assert f"{row['ep']:.3f} †" in shown
    for page in SHORT_STORY:
        assert "†" not in (ROOT / page).read_text(encoding="utf-8")
    plots = importlib.import_module("plots")
    leaky = {(row["data"], row["method"], row["size"]) for row in marked}
    assert not leaky & {(p["data"], p["method"], p["size"]) for p in plots.by_size()}
    assert not leaky & {("counterfact", p["method"], 1_000) for p in plots.trade_off()}


def test_the_command_line_page_is_that_of_the_commands(tmp_path: Path) -> None:
    made = tmp_path / "cli.md"
    command = [sys.executable, "-m", "typer", "lks.cli.app", "utils", "docs", "--name", "lks"]
    environment = {**os.environ, "TERM": "dumb", "COLUMNS": "80"}
    subprocess.run(
        [*command, "--output", str(made)], check=True, capture_output=True, env=environment
    )
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert made.read_text(encoding="utf-8") == page, "run `make docs`"


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: ([\w.]+)\.(\w+)$", page, re.MULTILINE)
    assert {name: home for home, name in named} == lks._HOMES


def test_files_for_the_community_are_whole() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    read = [
        yaml.safe_load(file.read_text(encoding="utf-8"))
        for file in (ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml",
                     *sorted((ROOT / ".github").rglob("*.yml")))
    ]  # fmt: skip
    assert len(read) == 7 and all(isinstance(each, dict) for each in read)
    assert read[0]["version"] == project["version"]
    assert "2508.03741" in read[0]["references"][0]["url"]
    (matrix,) = (
        each["jobs"]["test"]["strategy"]["matrix"]["python"]
        for each in read if "test" in each.get("jobs", {})
    )  # fmt: skip
    assert matrix[0] == project["requires-python"].removeprefix(">=")


def test_one_placeholder_is_left_for_the_owner() -> None:
    files = [*ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    found = [f.name for f in files if f.is_file() and "/OWNER/" in f.read_text("utf-8", "ignore")]
    assert found == ["pyproject.toml"]
    assert "`OWNER`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
