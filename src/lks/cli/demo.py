"""`lks demo`: the whole story on the embedded model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import as_file, files

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lks.cli.console import TrainingProgress, echo, print_scores
from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.edits.text import counted
from lks.evaluation.results import Probe, Summary
from lks.evaluation.runner import Evaluation, evaluate
from lks.model.backbone import Backbone
from lks.training.config import TrainingConfig
from lks.training.run import trained

FACTS, EPOCHS = 100, 32  # what two slow cores do in a few minutes
SHOWN = 8  # facts whose texts are shown
UNRELATED = [
    "The chemical symbol for gold is",
    "Twice seven is",
    "A sonnet is a poem of",
    "Water boils at a temperature of",
]
TITLES = {
    "reliability": "The edited facts",
    "generality": "The same facts, asked in words that training never saw",
    "locality": "Other questions about the same entities, which must stay as they are",
}


@dataclass(frozen=True)
class DemoResult:
    """The scores of `lks eval`, what the undo showed, and what the training tells."""

    scores: Summary
    unrelated_identical: bool
    undo_identical: bool
    training: Mapping[str, object]
    seconds: float

    def to_json(self) -> dict[str, object]:
        rest = {name: value for name, value in vars(self).items() if name != "scores"}
        return self.scores.to_json() | rest


def facts() -> EditSet:
    """The demo's own file of facts."""
    with as_file(files(__package__) / "demo.jsonl") as path:
        return EditSet.load(path)


def run(
    backbone: Backbone, *, limit: int | None, epochs: int | None, seed: int, quiet: bool
) -> DemoResult:
    """Train, show, score, undo."""
    started = time.monotonic()
    edits = facts()[: limit or FACTS]
    config = TrainingConfig(seed=seed, chat=False)  # half the time; the texts shown are plain
    config = replace(config, epochs=epochs or EPOCHS)
    echo(f"{counted(len(edits), 'fact')} that {backbone.name} knows otherwise", quiet)
    pack = trained(backbone, edits, config, TrainingProgress(quiet))
    base, edited = UneditedModel(backbone), ScalpelModel(backbone, pack)
    echo("asking before and after ...", quiet)
    shown = evaluate(base, edited, edits[:SHOWN], max_new_tokens=16, fluency_edits=0)
    scores = evaluate(base, edited, edits, free_running=False).summary()
    untouched = base.score(_pairs(edits))
    unrelated = base.score(_unrelated()) == edited.score(_unrelated())
    edited.remove([edit.id for edit in edits])
    result = DemoResult(
        scores,
        unrelated_identical=unrelated,
        undo_identical=edited.score(_pairs(edits)) == untouched,
        training=pack.training.to_json(),
        seconds=round(time.monotonic() - started, 1),
    )
    if not quiet:
        _show(shown, result)
    return result


def _pairs(edits: EditSet) -> list[tuple[str, str]]:
    return [(edit.prompt, edit.target) for edit in edits]


def _unrelated() -> list[tuple[str, str]]:
    return [(prompt, "a number of things") for prompt in UNRELATED]


def _show(shown: Evaluation, result: DemoResult) -> None:
    console = Console()
    for kind, title in TITLES.items():
        probes = [probe for probe in shown.probes if probe.kind == kind]
        console.print(_texts(title, probes))
    print_scores(result.scores)
    for text, ok in (
        ("prompts that name no edited entity", result.unrelated_identical),
        ("all edits taken out again", result.undo_identical),
    ):
        console.print(f"{'yes' if ok else 'NO '}  {text}: bit for bit the unedited model")
    console.print(
        f"\n{counted(result.scores.n, 'fact')} trained in {result.training['seconds']:.0f} s, "
        f"all in {result.seconds:.0f} s. Next, with facts of your own (JSON lines with subject, "
        "prompt, target):\n"
        "    lks edit facts.jsonl --out facts.pack\n"
        '    lks ask facts.pack "a question"\n'
        "    lks eval facts.pack --data facts.jsonl",
        highlight=False,
    )


def _texts(title: str, probes: list[Probe]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, expand=True, title_justify="left")
    for name, ratio in (("prompt", 3), ("before", 2), ("after", 2)):
        table.add_column(name, ratio=ratio, no_wrap=name != "prompt", overflow="ellipsis")
    for probe in probes:
        after = Text(_line(probe.after), style="" if probe.free else "yellow")
        table.add_row(Text(probe.prompt), Text(_line(probe.before)), after)
    return table


def _line(text: str) -> str:
    return " ".join(text.split()) or "–"
