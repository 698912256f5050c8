"""The table of results/edit_quality-*-default.json as Markdown, and its plot as SVG beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import matplotlib
from _record import RESULTS, save_figure

matplotlib.use("svg")
import matplotlib.pyplot as plt

KINDS = ("reliability", "generality", "locality", "ep")


def main() -> None:
    files = RESULTS.glob("edit_quality-*-default.json")
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    results.sort(key=lambda result: (result["data"], result["limit"]))
    for line in table(results):
        print(line)
    for line in costs(results):
        print(line)
    save_figure(plot(results), "edit-quality")


def table(results: list[dict[str, Any]]) -> Iterator[str]:
    """Scores of each data set and number of edits, plain and in a chat."""
    yield "| data, edits | prompts | reliability | generality | locality | EP | free-running |"
    yield "|---|---|---|---|---|---|---|"
    for result in results:
        for style in ("plain", "chat"):
            forced, free = result[style]["teacher_forced"], result[style]["free_running"]
            scores = " | ".join(f"{forced[kind]:.3f}" for kind in KINDS)
            written = " / ".join(f"{free[kind]:.3f}" for kind in KINDS[:3])
            name = f"{_name(result)}, {result['limit']:,}" if style == "plain" else ""
            yield f"| {name} | {style}, {result[style]['n']} rows | {scores} | {written} |"


def costs(results: list[dict[str, Any]]) -> Iterator[str]:
    """What training took, and the size of the packs."""
    yield "\n| data, edits | epochs | s | s an edit | losses r, g | GB | pack, kB an edit |"
    yield "|---|---|---|---|---|---|---|"
    for result in results:
        train, n = result["train"], result["limit"]
        losses = ", ".join(f"{train['losses'][kind]:.2f}" for kind in KINDS[:2])
        yield (
            f"| {_name(result)}, {n:,} | {train['epochs']} | {train['seconds']:,.0f} | "
            f"{train['seconds'] / n:.2f} | {losses} | {train['peak_memory_bytes'] / 1e9:.1f} | "
            f"{result['pack_bytes'] / n / 1e3:.1f} |"
        )


def plot(results: list[dict[str, Any]]) -> Any:
    """Scores by the number of edits, teacher-forced and free-running."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axes, how in zip(panels, ("teacher_forced", "free_running"), strict=True):
        for data, style in zip(dict.fromkeys(map(_name, results)), ("-o", "--s"), strict=False):
            rows = [result for result in results if _name(result) == data]
            for colour, kind in enumerate(KINDS[:3]):
                values = [row["plain"][how][kind] for row in rows]
                edits = [row["limit"] for row in rows]
                axes.semilogx(edits, values, style, color=f"C{colour}", label=f"{data}, {kind}")
        axes.set(xlabel="edits", title=how.replace("_", "-"), ylim=(0.5, 1.01))
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    return figure


def _name(result: dict[str, Any]) -> str:
    return {"zsre": "ZsRE", "counterfact": "CounterFact"}[result["data"].partition(".")[0]]


if __name__ == "__main__":
    main()
