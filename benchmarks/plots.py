"""Draw the plots of the README and of the results page into docs/images: `make plots`.

Each SVG holds a digest of the numbers it was drawn from; `--check` ends with 1 if it is not that of
the results of today. Cells with a known flaw are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from typing import Any

from _record import program
from _results import DATA, METHODS, ROOT, Row, comparison, read
from _table import QUESTIONS, SIZES
from _tables_editors import headline

IMAGES = ROOT / "docs" / "images"
COLOURS = {
    "lks": "#d62728", "inject": "#1f77b4", "rag": "#17becf", "ike": "#9467bd", "grace": "#2ca02c",
    "ft": "#8c564b", "lora": "#e377c2", "memit": "#7f7f7f", "alphaedit": "#bcbd22",
    "rome": "#ff7f0e", "unedited": "#444444",
}  # fmt: skip
ABOVE = {"lks", "unedited", "alphaedit", "ike"}  # whose label stands above its point


def name(method: str) -> str:
    return METHODS[method].strip("*")


def trade_off() -> list[Row]:
    """CounterFact, a thousand edits: a point a method."""
    keys = ("method", "contained_generality", "locality")
    return [{key: row[key] for key in keys} for row in headline()]


def draw_trade_off(figure: Any, points: list[Row]) -> None:
    axes = figure.subplots()
    for point in points:
        method, lks = point["method"], point["method"] == "lks"
        x, y = 100 * point["contained_generality"], 100 * point["locality"]
        axes.scatter(x, y, s=130 if lks else 45, color=COLOURS[method], zorder=3)
        axes.annotate(
            name(method), (x, y), (0, 9 if method in ABOVE else -15),
            textcoords="offset points", ha="center", fontsize=12 if lks else 9,
            fontweight="bold" if lks else "normal", color=COLOURS[method],
        )  # fmt: skip
    axes.set(
        xlim=(-16, 112), ylim=(-12, 118), xticks=range(0, 101, 20), yticks=range(0, 101, 20),
        xlabel="new fact stated when asked in other words, %",
        ylabel="other questions unchanged, %",
    )  # fmt: skip
    axes.grid(alpha=0.25)


def by_size() -> list[Row]:
    """EP by data, method and number of edits."""
    return [
        {key: row[key] for key in ("data", "method", "size", "ep")}
        for row in comparison()
        if not row["leaky"] and row["method"] != "lks-paper"
    ]


def draw_by_size(figure: Any, points: list[Row]) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (data, title) in zip(panels, DATA.items(), strict=True):
        for method, colour in COLOURS.items():
            own = [p for p in points if (p["data"], p["method"]) == (data, method)]
            axes.semilogx(
                [p["size"] for p in own], [p["ep"] for p in own], "-o", label=name(method),
                color=colour, linewidth=2.5 if method == "lks" else 1.2, markersize=4,
            )  # fmt: skip
        axes.set(title=title, xlabel="edits in force together", ylim=(0, 1.03))
        axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("mean score (EP)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right", frameon=False, fontsize=8)


def hard() -> list[Row]:
    """Share of right answers to each hard question, by method; 20 of a kind."""
    methods = read("hard_questions-counterfact-100.json")["methods"]
    return [
        {"question": told, **{m: own["kinds"][kind]["after"] for m, own in methods.items()}}
        for kind, told in QUESTIONS.items()
        if kind in methods["lks"]["kinds"]
    ]


def draw_hard(figure: Any, rows: list[Row]) -> None:
    axes = figure.subplots()
    methods = ["lks", *(m for m in COLOURS if m in rows[0] and m != "lks")]
    values = [[row[method] for method in methods] for row in rows]
    axes.imshow(values, cmap="RdYlBu", vmin=0, vmax=1, aspect="auto", alpha=0.75)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=10)
    names = [name(method).replace(", ", ",\n") for method in methods]
    axes.set_xticks(range(len(methods)), names, fontsize=9)
    axes.set_yticks(range(len(rows)), [row["question"] for row in rows], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


PLOTS = {
    "trade-off": (trade_off, draw_trade_off, (6.4, 3.7)),
    "by-size": (by_size, draw_by_size, (8.6, 2.9)),
    "hard-questions": (hard, draw_hard, (8.6, 2.9)),
}


def digest(rows: list[Row]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def draw(plot: str) -> str:
    """The plot as SVG, the same for the same numbers."""
    import matplotlib
    from matplotlib.figure import Figure

    rows, onto, size = PLOTS[plot]
    points = rows()
    metadata = {"Date": None, "Creator": None, "Description": f"sha256 {digest(points)}"}
    with matplotlib.rc_context({"svg.hashsalt": "lks", "svg.fonttype": "none"}):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        onto(figure, points)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=metadata)
    return "".join(line.rstrip() + "\n" for line in drawn.getvalue().splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="draw nothing")
    options = parser.parse_args()
    for plot, (rows, _, _) in PLOTS.items():
        file = IMAGES / f"{plot}.svg"
        if not options.check:
            file.write_text(draw(plot), encoding="utf-8")
            print(f"wrote {file.relative_to(ROOT)}")
        elif digest(rows()) not in file.read_text(encoding="utf-8"):
            raise SystemExit(f"{file.relative_to(ROOT)} is not of these results: run `make plots`")


if __name__ == "__main__":
    program(main)
