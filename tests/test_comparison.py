"""The report of a table of editors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lks.evaluation.bench import report
from lks.evaluation.results import CellResult, FailedCell

KINDS = ("reliability", "generality", "locality")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def summary(method: str, size: int, score: float, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """What the file of a cell holds."""
    scores = {**dict.fromkeys(KINDS, score), "ep": score}
    style = {"n": 100, "prompts": "plain", "teacher_forced": scores, "free_running": scores,
             "teacher_forced_exact": scores, "base": {**scores, "free_running": scores},
             "contained": scores, "portability": None, "uncontradicted": None,
             "triggered": scores, "intervals": {"ep": (score - 0.1, score)},
             "clean_stops": scores, "locality_kl": 1 - score,
             "fluency": {"before": 5.0, "after": 4 + score}}  # fmt: skip
    cell = {"method": method, "data": "facts.jsonl", "size": size, "seed": seed, "model": "tiny"}
    made = {"cell": cell, "plain": style, "chat": None, "abilities": [], "groups": 1,
            "seconds": 20.0, "edit_seconds": 15.0, "edit_seconds_each": 1.5,
            "stored_bytes_each": 2304, "peak_memory_bytes": 2e9, "first_token_ratio": 1.02,
            "next_token_ratio": 1.0, "machine": "x", "commit": "abc", "versions": {"torch": "2"},
            "settings": {"layer": None, "k": 3, "sample": {"tokens": 20}}}  # fmt: skip
    return made | changes


def made(*given: Any, **changes: Any) -> CellResult:
    """The same as it is loaded."""
    return CellResult.from_json(summary(*given, **changes))


def test_abilities_stand_beside_the_unedited_model() -> None:
    task = {"task": "cola", "n": 8, "shots": 2, "changed_unfired": 0}
    tasks = [{**task, "before": 0.5, "after": 0.25, "fired": 0.1}]
    text = report.to_markdown([made("ft", 10, 0.5, abilities=tasks), RESULTS[1]])
    assert "| method | cola (fired) |" in text
    assert "| no edits | 0.500 |\n| ft | 0.250 (10 %) |\n" in text


FAILED = FailedCell(made("x", 10, 0).cell, "RuntimeError: <no> good")
RESULTS = [made("ft", 10, 0.5), made("lks", 10, 0.9), made("lks", 100, 0.8), FAILED]


def test_rows_are_means_over_seeds_the_best_first() -> None:
    rows = report.rows_of([*RESULTS, made("ft", 10, 0.98, seed=1)])
    assert [(r.size, r.method, r.forced.ep) for r in rows] == [
        (10, "lks", 0.9), (10, "ft", pytest.approx(0.74)), (100, "lks", 0.8),
    ]  # fmt: skip
    assert rows[0].interval == pytest.approx((0.8, 0.9))
    assert rows[1].interval == pytest.approx((0.74 - 0.1 / 2**0.5, 0.74))
    assert rows[1].seeds == 2
    assert rows[0].chat.ep is None
    failure = report.Failure("facts.jsonl", 10, "x", "RuntimeError: <no> good")
    assert report.failures_of(RESULTS) == [failure]


def test_markdown_tables() -> None:
    text = report.to_markdown(RESULTS)
    assert "### facts.jsonl, 10 edits: scores" in text
    assert "| lks | 0.900 (0.80–0.90) | 0.900 |" in text
    assert "| ft | 1.5 | 2.3 | 2 | 1.02 | 1 |" in text
    assert "| lks | 0.90 / 0.90 / 0.90 | 0.100 | 4.90 | 5.00 |" in text
    assert "- lks: k 3, sample (tokens 20)\n" in text
    assert "x failed: RuntimeError: <no> good" in text
    assert report.settings([made("ft", n, 0.5, settings={"n": n}) for n in (9, 10, 1)]) == [
        ("ft", "n 10")
    ]


def test_plots_can_be_read_on_light_and_on_dark() -> None:
    drawn = report.plots(RESULTS)["facts.jsonl"]
    assert drawn.startswith("<svg")
    assert report.GREY in drawn and "lks" in drawn
    assert "#000000" not in drawn and "fill: #ffffff" not in drawn
    assert drawn == report.plots(RESULTS)["facts.jsonl"]


CASES = [
    {"data": "facts.jsonl", "size": 10, "method": method, "kind": "reliability", "chat": False,
     "prompt": "Where </script><b>is</b> it?", "target": "Rome", "before": "Paris", "after": after,
     "free": after == "Rome", "triggered": True, "forced": 1.0}
    for method, after in (("lks", "Rome"), ("ft", "Paris & more"))
]  # fmt: skip


def test_plots_may_have_any_name() -> None:
    named = made("_own:Own", 1, 0.5)
    named = replace(named, cell=replace(named.cell, data="a$^$b.jsonl"))
    drawn = report.plots([named])["a$^$b.jsonl"]
    assert "a$^$b.jsonl: EP" in drawn and "_own:Own" in drawn


def test_what_is_no_number_leaves_the_page_readable() -> None:
    cases = [{**CASES[0], "kl": float("nan"), "kept": [float("inf"), 1.0]}]
    page = report.to_html(RESULTS, cases, ())
    assert '"kl": null, "kept": [null, 1.0]' in page and "NaN" not in page


def test_the_page_needs_no_network_and_escapes_what_models_write() -> None:
    page = report.to_html(RESULTS, CASES, report.plots(RESULTS).values())
    assert not re.search(r"""(src|href)\s*=\s*["']?(http|//)|url\(\s*["']?http|@import""", page)
    assert "</script><b>" not in page
    assert "&lt;no&gt; good" in page
    assert "torch 2; commits abc." in page
    assert "<b>ft</b>: k 3, sample (tokens 20)" in page


@pytest.mark.skipif(BROWSER is None, reason="no browser")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_page(tmp_path: Path, width: int) -> None:
    page = tmp_path / "report.html"
    drawn = report.plots(RESULTS).values()
    probe = "<script>document.title = innerWidth + ' ' + document.body.scrollWidth</script></body>"
    page.write_text(report.to_html(RESULTS, CASES, drawn).replace("</body>", probe))
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--dump-dom",
        page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count('class="case') == 2
    assert "2 of 2" in done.stdout
    assert "Where &lt;/script&gt;&lt;b&gt;is&lt;/b&gt; it?" in done.stdout
    seen, wide = map(int, done.stdout.split("<title>")[1].split("</title>")[0].split())
    assert wide <= seen  # only tables scroll sideways, the page does not


def test_the_committed_results_are_read_and_written_key_by_key() -> None:
    files = sorted(
        (Path(__file__).parent.parent / "benchmarks/results/table-smollm2-135m").glob("*.json")
    )
    assert len(files) > 100
    for file in files:
        kept = json.loads(file.read_text(encoding="utf-8"))
        told = json.loads(json.dumps(CellResult.from_json(kept).to_json()))
        kept.pop("edit_seconds_note", None)  # a remark in one of them
        assert told["cell"] | kept["cell"] == told["cell"], file.name
        for style in ("plain", "chat"):
            if kept[style]:
                assert told[style].pop("warnings") == []  # not asked by an early version
                kept[style].pop("warnings", None)
        rest = {key: value for key, value in kept.items() if key != "cell"}
        assert {key: told[key] for key in rest} == rest, file.name
