"""Choosing the layer: a small sample trained at each, scored on prompts that it did not train on.

A folder holds `layers.jsonl`, with a line a layer as soon as it is done, and `layers.png`. A run
that was stopped goes on with the layers that are missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from lks.editors.protocol import EditedModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError, LayerError, OutputError
from lks.evaluation.metrics import mean
from lks.evaluation.results import LayerScores
from lks.evaluation.runner import evaluate
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.engine.protocol import Generation, Score, ScoreOptions
from lks.model.untyped import Setting
from lks.training.config import TrainingConfig

TABLE, PLOT = "layers.jsonl", "layers.png"


@dataclass(frozen=True)
class Trained:
    """Edits trained at a layer, and what that took."""

    model: EditedModel
    seconds: float
    epochs: int


def spread(n_layers: int, count: int) -> list[int]:
    """About `count` layers from the first to the last but one (above the last, nothing follows)."""
    last = n_layers - 2
    if count >= last + 1 or count < 2:
        return list(range(last + 1))
    return sorted({round(i * last / (count - 1)) for i in range(count)})


def compare(
    backbone: Backbone,
    edits: EditSet,
    config: TrainingConfig,
    layers: Sequence[int],
    folder: Path,
    train: Callable[[TrainingConfig], Trained],
    *,
    pool: Iterable[Edit] = (),
    on_layer: Callable[[LayerScores], None] = lambda row: None,
    on_refused: Callable[[LayerError], None] = lambda error: None,
) -> list[LayerScores]:
    """Train and score `edits` at each layer; rows of the table, in the order of the layers.

    Args:
        train: trains the edits with a configuration, which says the layer.
        pool: further edits that training is handed.
        on_refused: is told of a layer that cannot be edited; the others are gone through.

    Raises:
        InputError: the folder holds the table of other edits or settings.
        LayerError: a layer is out of range, or none can be edited.
    """
    for layer in layers:
        backbone.layer(layer)
    pool = list(pool)
    run = {
        "model": backbone.fingerprint.weights,
        "edits": hashlib.sha256(repr([list(edits), list(pool)]).encode()).hexdigest(),
        "config": replace(config, layer=None).for_edits(len(edits)).to_json(),
    }
    done, base, refused = _done(folder, run), _CachedBase(backbone), list[LayerError]()
    for layer in layers:
        if layer in done:
            continue
        try:
            made = train(replace(config, layer=layer, verdicts=False))
        except LayerError as error:
            refused.append(error)
            on_refused(error)
            continue
        scores = evaluate(base, made.model, edits, free_running=False).summary().teacher_forced
        done[layer] = LayerScores(
            layer,
            *(scores.reliability, scores.generality, scores.locality, scores.ep),
            seconds=made.seconds,
            epochs=made.epochs,
        )
        with (folder / TABLE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(done[layer].to_json()) + "\n")
        on_layer(done[layer])
    if not done and refused:
        raise refused[0]
    return [done[layer] for layer in sorted(layers) if layer in done]


class _CachedBase(UneditedModel):
    """The unedited model, which answers the same questions at every layer: once."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self._scores: dict[str, list[Score]] = {}
        self._texts: dict[str, list[Generation]] = {}

    def score(
        self, pairs: Sequence[tuple[Prompt, str]], **options: Unpack[ScoreOptions]
    ) -> list[Score]:
        key = repr((list(pairs), options))
        if key not in self._scores:
            self._scores[key] = super().score(pairs, **options)
        return self._scores[key]

    def respond(self, prompts: Sequence[Prompt], **options: Setting) -> list[Generation]:
        key = repr((list(prompts), options))
        if key not in self._texts:
            self._texts[key] = super().respond(prompts, **options)
        return self._texts[key]


def best(rows: Sequence[LayerScores]) -> int:
    """The layer with the highest mean of the scores that there are; of equals the highest layer."""

    def order(row: LayerScores) -> tuple[float, int]:
        return mean((row.reliability, row.generality, row.locality)) or 0.0, row.layer

    return max(rows, key=order).layer


def draw(rows: Sequence[LayerScores], file: Path, title: str) -> None:
    """Scores against depth.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            'the plot needs matplotlib: pip install "latent-knowledge-scalpel[plot]"'
        ) from error
    axes = (figure := Figure(figsize=(7, 4), layout="constrained")).subplots()
    depth = [row.layer for row in rows]
    lines = {
        "reliability": [row.reliability for row in rows],
        "generality": [row.generality for row in rows],
        "locality": [row.locality for row in rows],
        "EP": [row.ep for row in rows],
    }
    for (name, scores), marker in zip(lines.items(), "osv^", strict=True):
        values = [float("nan") if score is None else score for score in scores]
        axes.plot(depth, values, marker=marker, label=name)
    axes.set(xlabel="layer", ylabel="teacher-forced score", ylim=(0, 1.02), title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)


def _done(folder: Path, run: Mapping[str, object]) -> dict[int, LayerScores]:
    """Rows of an earlier run of the same kind; without one, the folder is begun."""
    file = folder / TABLE
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(run) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError.at(folder, error) from error
        return {}
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    try:
        # A last line without its end was being written when the run was stopped.
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError:
        whole = []
    if not whole or whole[0] != run:
        raise InputError(f"{file}: made with other edits or settings; choose another --out")
    file.write_text("".join(line for line in lines if line.endswith("\n")), encoding="utf-8")
    return {row.layer: row for row in map(LayerScores.from_json, whole[1:])}
