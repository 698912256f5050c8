"""Plots of results/scope-matcher.json and results/gate.json, as SVG beside them."""

from __future__ import annotations

import json
from typing import Any

import matplotlib
from _record import RESULTS, program, save_figure

matplotlib.use("svg")
import matplotlib.pyplot as plt


def main() -> None:
    result = json.loads((RESULTS / "scope-matcher.json").read_text(encoding="utf-8"))
    save_figure(recall_plot(result), "scope-recall")
    save_figure(speed_plot(result), "scope-speed")
    gate = json.loads((RESULTS / "gate.json").read_text(encoding="utf-8"))
    save_figure(gate_plot(gate), "scope-gate")


def recall_plot(result: dict[str, Any]) -> Any:
    """Misspelt names found, by their letters and errors."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for data, own in result["data"].items():
        for errors, style in ((1, "-o"), (2, "--s")):
            rows = [row for row in own["misspelt_by_length"] if row["errors"] == errors]
            labels = ["-".join(map(str, row["letters"])) for row in rows]
            found = [100 * row["found"] for row in rows]
            axes.plot(labels, found, style, label=f"{data}, {errors} error{'s' * (errors > 1)}")
    axes.set(xlabel="letters of the name", ylabel="found, %", ylim=(0, 101))
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def speed_plot(result: dict[str, Any]) -> Any:
    """Time of a 30-word text by the number of names."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for fuzzy in (False, True):
        rows = [row for row in result["speed"] if row["fuzzy"] is fuzzy]
        names = [row["names"] for row in rows]
        label = "with misspellings" if fuzzy else "exact only"
        for key, style in (("p50_us", "-o"), ("p99_us", ":x")):
            axes.loglog(names, [row[key] for row in rows], style, label=f"{label}, {key[:3]}")
    own = next(iter(result["data"].values()))
    theirs = own["speed_ratio"]["no name"]["recipe_median_us"]
    axes.plot([own["names"]], [theirs], "k*", markersize=11, label="published recipe, p50")
    axes.set(xlabel="names", ylabel="microseconds a text of 30 words")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def _kind(name: str) -> tuple[str, bool]:
    """Data set, and whether its edits had only their own prompts."""
    return name.split("-")[0], name.endswith("-alone")


def gate_plot(result: dict[str, Any]) -> Any:
    """Held-out questions that fire, by the number of edits."""
    figure, (asked, other) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for data, alone in dict.fromkeys(map(_kind, result)):
        rows = [row for name, row in result.items() if _kind(name) == (data, alone)]
        edits = [row["edits"] for row in rows]
        for axes, kind in ((asked, "paraphrase"), (other, "other")):
            for key, style in (
                (("fired", ":x"),) if alone else (("fired", "-o"), ("any_fired", "--s"))
            ):
                values = [100 * row[f"{kind}_{key}"] for row in rows]
                label = f"{data}, {'its own' if key == 'fired' else 'any'} edit"
                axes.semilogx(edits, values, style, label=label + alone * ", nothing lent")
    asked.set(xlabel="edits", ylabel="fired, %", title="held-out paraphrases", ylim=(60, 101))
    other.set(xlabel="edits", title="other questions about the subject", ylim=(0, 10))
    asked.legend(fontsize="small")
    for axes in (asked, other):
        axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    program(main)
