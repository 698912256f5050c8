"""Choosing the layer: a small sample trained at each, scored on prompts that it did not train on.

A folder holds `layers.jsonl`, with a line a layer as soon as it is done, and `layers.png`. A run
that was stopped goes on with the layers that are missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError, OutputError
from lks.evaluation.metrics import mean
from lks.evaluation.runner import KINDS, evaluate
from lks.model.backbone import Backbone
from lks.model.engine.protocol import Score
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

SCORES = (*KINDS, "ep")
TABLE, PLOT = "layers.jsonl", "layers.png"


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
    *,
    pool: Iterable[Edit] = (),
    on_layer: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Train and score `edits` at each layer; rows of the table, in the order of the layers.

    Raises:
        InputError: the folder holds the table of other edits or settings.
        LayerError: a layer is out of range.
    """
    for layer in layers:
        backbone.layer(layer)
    pool = list(pool)
    run = {
        "model": backbone.fingerprint.weights,
        "edits": hashlib.sha256(repr([list(edits), list(pool)]).encode()).hexdigest(),
        "config": replace(config, layer=None).for_edits(len(edits)).to_json(),
    }
    done, base = _done(folder, run), _CachedBase(backbone)
    for layer in layers:
        if layer in done:
            continue
        pack = train_pack(backbone, edits, replace(config, layer=layer), pool=pool)
        edited = ScalpelModel(backbone, pack)
        scores = evaluate(base, edited, edits, free_running=False).summary()["teacher_forced"]
        done[layer] = {
            "layer": layer, **{name: scores[name] for name in SCORES},
            "seconds": pack.training.seconds, "epochs": pack.training.epochs,
        }  # fmt: skip
        with (folder / TABLE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(done[layer]) + "\n")
        on_layer(done[layer])
    return [done[layer] for layer in sorted(layers)]


class _CachedBase(UneditedModel):
    """The unedited model, which answers the same questions at every layer: once."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self._known: dict[str, Any] = {}

    def score(self, pairs: Sequence[Any], **options: Any) -> list[Score]:
        return self._once(super().score, pairs, options)

    def generate(self, prompts: Sequence[Any], **options: Any) -> list[str]:
        return self._once(super().generate, prompts, options)

    def _once(self, ask: Callable[..., Any], texts: Sequence[Any], options: dict[str, Any]) -> Any:
        key = repr((ask.__name__, list(texts), options))
        if key not in self._known:
            self._known[key] = ask(texts, **options)
        return self._known[key]


def best(rows: Sequence[dict[str, Any]]) -> int:
    """The layer with the highest mean of the scores that there are; of equals the highest layer."""

    def order(row: dict[str, Any]) -> tuple[float, int]:
        return mean(row[kind] for kind in KINDS) or 0.0, row["layer"]

    layer: int = max(rows, key=order)["layer"]
    return layer


def draw(rows: Sequence[dict[str, Any]], file: Path, title: str) -> None:
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
    depth = [row["layer"] for row in rows]
    for name, marker in zip(SCORES, "osv^", strict=True):
        values = [float("nan") if row[name] is None else row[name] for row in rows]
        axes.plot(depth, values, marker=marker, label="EP" if name == "ep" else name)
    axes.set(xlabel="layer", ylabel="teacher-forced score", ylim=(0, 1.02), title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)


def _done(folder: Path, run: dict[str, Any]) -> dict[int, dict[str, Any]]:
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
    return {row["layer"]: row for row in whole[1:]}
