"""One self-contained HTML page of an evaluation: the numbers, and every text before and after."""

from __future__ import annotations

from collections.abc import Sequence

from lks.edits.text import counted
from lks.evaluation.results import KINDS, KindScores, Probe, Scores, Summary

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>LKS evaluation</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8886; padding: .35rem .7rem; text-align: left; }
td { vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.no { opacity: .6; }
</style></head><body>
<h1>LKS evaluation</h1>
<p>{{ counted(summary.n, "edit") }}, {{ summary.prompts }} prompts.
{% if summary.fluency and summary.fluency.before %}Fluency (n-gram entropy):
{{ "%.2f"|format(summary.fluency.before) }} before,
{{ "%.2f"|format(summary.fluency.after) }} after.{% endif %}</p>
{% for warning in summary.warnings %}<p><strong>Warning:</strong> {{ warning }}.</p>
{% endfor %}
<div class="scroll"><table>
<tr><th></th>{% for k in kinds %}<th>{{ k }}</th>{% endfor %}<th>EP</th></tr>
{% for label, values in rows %}<tr><th>{{ label }}</th>
{% for value in values %}<td class="n">{{ number(value) }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<h2>Cases</h2>
<div class="scroll"><table>
<tr><th>edit</th><th>kind</th><th>prompt</th><th>target</th><th>before</th><th>after</th>
<th>teacher-forced</th><th>fired</th></tr>
{% for c in cases %}<tr{% if not c.free %} class="no"{% endif %}>
<td>{{ c.edit_id }}</td><td>{{ c.kind }}</td><td>{{ c.prompt }}</td><td>{{ c.target }}</td>
<td>{{ c.before }}</td><td>{{ c.after }}</td><td class="n">{{ number(c.forced) }}</td>
<td>{{ "yes" if c.triggered else "no" }}</td></tr>
{% endfor %}</table></div>
<p>Dimmed rows: the written text is not the target (for locality: not what the unedited model
writes).</p>
</body></html>
"""


def to_html(summary: Summary, cases: Sequence[Probe]) -> str:
    """The page for an evaluation."""
    from jinja2 import Environment  # here, since every table of the command line uses this module

    page = Environment(autoescape=True).from_string(_PAGE)
    return page.render(
        summary=summary,
        cases=cases,
        kinds=KINDS,
        rows=table_rows(summary),
        number=number,
        counted=counted,
    )


TableRow = tuple[str, tuple[float | None, ...]]


def table_rows(summary: Summary) -> list[TableRow]:
    """The rows that a table of scores shows: a label, the score of each kind, and EP."""
    rows = [
        ("teacher-forced", _values(summary.teacher_forced)),
        ("all tokens right", _values(summary.teacher_forced_exact)),
        ("free-running", _values(summary.free_running)),
    ]
    if left := summary.uncontradicted:
        those = f"without the {summary.n - left.n} that others contradict"
        rows += [
            (f"teacher-forced, {those}", _values(left.teacher_forced)),
            (f"free-running, {those}", _values(left.free_running)),
        ]
    base = summary.base.reliability, summary.base.generality, None, None
    return [*rows, ("unedited model", base), ("prompts that fired", _values(summary.triggered))]


def _values(scores: KindScores) -> tuple[float | None, ...]:
    ep = scores.ep if isinstance(scores, Scores) else None
    return scores.reliability, scores.generality, scores.locality, ep


def number(value: float | None, digits: int = 3) -> str:
    """A score as text; a dash where there is none."""
    return f"{value:.{digits}f}" if isinstance(value, float | int) else "–"
