"""The plot of results/edit_quality-*-default.json as SVG beside them."""

from __future__ import annotations

import json
from typing import Any

import matplotlib
from _record import RESULTS, program, save_figure

matplotlib.use("svg")
import matplotlib.pyplot as plt

KINDS = ("reliability", "generality", "locality", "ep")


def main() -> None:
    files = RESULTS.glob("edit_quality-*-default.json")
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    results.sort(key=lambda result: (result["data"], result["limit"]))
    save_figure(plot(results), "edit-quality")


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
    program(main)
