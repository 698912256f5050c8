"""One self-contained HTML page of an evaluation: the numbers, and every text before and after."""

from __future__ import annotations

from typing import Any

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
<p>{{ n }} edits, {{ prompts }} prompts.
{% if fluency.before %}Fluency (n-gram entropy): {{ "%.2f"|format(fluency.before) }} before,
{{ "%.2f"|format(fluency.after) }} after.{% endif %}</p>
{% for warning in warnings %}<p><strong>Warning:</strong> {{ warning }}.</p>
{% endfor %}
<div class="scroll"><table>
<tr><th></th>{% for k in kinds %}<th>{{ k }}</th>{% endfor %}<th>EP</th></tr>
{% for label, row in rows %}<tr><th>{{ label }}</th>
{% for k in kinds + ["ep"] %}<td class="n">{{ number(row.get(k)) }}</td>{% endfor %}</tr>
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


def to_html(evaluation: dict[str, Any]) -> str:
    """The page for what `Evaluation.to_json` returns."""
    from jinja2 import Environment  # here, since every table of the command line uses this module

    page = Environment(autoescape=True).from_string(_PAGE)
    return page.render(
        **evaluation,
        kinds=["reliability", "generality", "locality"],
        rows=table_rows(evaluation),
        number=number,
    )


def table_rows(evaluation: dict[str, Any]) -> list[tuple[str, dict[str, float | None]]]:
    """The rows that a table of scores shows: a label, and the score of each kind."""
    rows = [
        ("teacher-forced", evaluation["teacher_forced"]),
        ("all tokens right", evaluation["teacher_forced_exact"]),
        ("free-running", evaluation["free_running"]),
    ]
    left = evaluation["uncontradicted"]
    if left:
        those = f"without the {evaluation['n'] - left['n']} that others contradict"
        rows += [
            (f"teacher-forced, {those}", left["teacher_forced"]),
            (f"free-running, {those}", left["free_running"]),
        ]
    unedited, fired = evaluation["base"], evaluation["triggered"]
    return [*rows, ("unedited model", unedited), ("prompts that fired", fired)]


def number(value: float | None, digits: int = 3) -> str:
    """A score as text; a dash where there is none."""
    return f"{value:.{digits}f}" if isinstance(value, float | int) else "–"
