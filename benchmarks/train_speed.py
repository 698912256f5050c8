"""Time of training: whole forward passes against the suffix engine, in one run.

    python benchmarks/train_speed.py zsre.jsonl --limit 100

**An epoch.** Both take each edit's prompt, one paraphrase and one locality prompt, plain. The
straightforward way is in float32; each step reads the edits' own texts up to the layer, for their
features, the locality prompts unedited, and all texts edited, these with the whole model and logits
for every token. It is timed on `--sample` edits and scaled up. The bound is what the engine's
matrix products alone would take at the speed measured for large ones.

**To equal scores.** Epochs until held-out reliability and generality (teacher-forced, plain, every
mention edited) are `--level` on average: for the steps of the straightforward way, counted with
the engine, which makes the same steps (the tests compare values and gradients), and for the
default ones, one text of an edit a step and no locality prompts, which a relation gate makes
needless. The times are epochs times the seconds above, and the engine's preparation and epochs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from _record import RESULTS, given, program
from torch import Tensor

from lks.blocks.placement import locate
from lks.blocks.trainable import KnowledgeBlocks
from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.evaluation.metrics import share
from lks.evaluation.provenance import provenance
from lks.model.backbone import Backbone
from lks.model.engine.hook import Plan, replacing
from lks.model.engine.machine import default_threads
from lks.model.engine.split_model import SplitModel
from lks.model.engine.tensor_store import TensorStore
from lks.packs.pack import Pack
from lks.packs.training_summary import TrainingSummary
from lks.scope.scope import Scope
from lks.training import losses, trainer
from lks.training.config import TrainingConfig
from lks.training.distributed import ProcessGroup
from lks.training.examples import EditExamples, build_examples, features
from lks.training.prompts import TrainingPrompts, training_prompts

MOST_EPOCHS = 32  # over which the learning rates fall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=given)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--level", type=float, default=0.9)
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    torch.set_num_threads(default_threads())
    backbone = Backbone.load(options.model, dtype="float32")
    rows = EditSet.load(options.data)
    edits = rows[: options.limit]
    every = TrainingConfig(
        chat=False, kl_tokens=1, scope="entity", alternate=False, epochs=MOST_EPOCHS
    )
    turns = TrainingConfig(chat=False, epochs=MOST_EPOCHS)
    every, turns = (config.for_edits(len(edits)) for config in (every, turns))
    prompts = [
        TrainingPrompts(p.paraphrases[:1], p.locality[:1]) for p in training_prompts(edits, rows)[0]
    ]
    slow = _straightforward(backbone, edits[: options.sample], prompts, every)
    slow *= options.limit / options.sample
    same = _engine(backbone, edits, prompts, every, options.level)
    best = _engine(backbone, edits, prompts, turns, options.level)
    result = {
        "data": options.data.name, "edits": len(edits), **provenance(),
        "straightforward_seconds": round(slow, 2), "engine": same, "engine_default": best,
        "times_faster_an_epoch": round(slow / same["epoch_seconds"], 1),
        "times_faster_at_the_bound": round(slow / same["bound_seconds"], 1),
        "level": options.level,
        "times_faster_to_level": {
            name: round(slow * same["epochs"] / own["seconds_to_level"], 1)
            for name, own in (("same steps", same), ("default steps", best))
        },
    }  # fmt: skip
    out = RESULTS / f"train_speed-{options.data.stem}-{options.limit}.json"
    RESULTS.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _engine(
    backbone: Backbone,
    edits: EditSet,
    prompts: Sequence[TrainingPrompts],
    config: TrainingConfig,
    level: float,
) -> dict[str, Any]:
    """Trains until the level, or as long as the settings say."""
    layer, *_ = config.resolve_layers(backbone.n_layers)
    started = time.perf_counter()
    split = SplitModel(backbone, [layer], torch.bfloat16)
    examples, _ = build_examples(
        split, edits, prompts, Scope(edits), chat=False, kl_tokens=config.locality_places,
        alone=config.scope == "relation",
    )  # fmt: skip
    blocks = _blocks(features(examples), config)
    prepared = time.perf_counter() - started
    loop = trainer._Loop(split, blocks, examples, config, TensorStore(), ProcessGroup())
    times, scores = [], [0.0]
    while len(times) < config.epochs and scores[-1] < level:
        started = time.perf_counter()
        loop.epoch(len(times), range(len(edits)), (len(times), config.epochs))
        times.append(time.perf_counter() - started)
        scores.append(round(_score(backbone, edits, blocks, config), 3))
    result: dict[str, Any] = {
        "prepare_seconds": round(prepared, 2), "epoch_seconds": round(min(times), 2),
        "epochs": len(times), "scores": scores[1:],
        "seconds_to_level": round(prepared + sum(times), 2),
    }  # fmt: skip
    if not config.alternate:  # an epoch takes all texts
        speed = _matmul_speed(backbone.width)
        result |= {
            "texts": sum(len(e.reliability + e.generality + e.locality) for e in examples),
            "bound_seconds": round(_flops(backbone, layer, examples) / speed, 2),
            "bfloat16_gflops": round(speed / 1e9),
        }
    return result


def _score(
    backbone: Backbone, edits: EditSet, blocks: KnowledgeBlocks, config: TrainingConfig
) -> float:
    """Mean of held-out reliability and generality, every mention edited."""
    with torch.no_grad():
        values = blocks.blocks(torch.arange(len(edits)))
    pack = Pack(
        edits=edits, blocks=values, hypernetwork={}, base_model=backbone.fingerprint,
        layers=config.resolve_layers(backbone.n_layers), form=config.form, kind=config.hypernetwork,
        scale=blocks.scale, training=TrainingSummary(), gate=None,
    )  # fmt: skip
    model = ScalpelModel(backbone, pack)
    kinds = [
        [(edit.prompt, edit.target) for edit in edits],
        [(text, edit.target) for edit in edits for text in edit.generality],
    ]
    scores = (model.score(pairs) for pairs in kinds)
    return fmean(fmean(share(score.matches) for score in own) for own in scores)


def _straightforward(
    backbone: Backbone,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    config: TrainingConfig,
) -> float:
    """Seconds of one epoch."""
    scope, blocks = Scope(edits), _blocks(torch.randn(len(edits), backbone.width), config)
    optimizer = torch.optim.AdamW(blocks.hypernetwork.parameters(), config.lr)
    started = time.perf_counter()
    for start in range(0, len(edits), config.batch_size):
        chosen = range(start, min(start + config.batch_size, len(edits)))
        own = [backbone.join(edits[i].prompt, edits[i].target, chat=False)[0] for i in chosen]
        layer, *_ = config.resolve_layers(backbone.n_layers)
        backbone.hidden_states(backbone.encode(own, chat=False), layer)  # the features' reading
        for kind in ("reliability", "generality", "locality"):
            loss = _whole(backbone, scope, blocks, edits, prompts, chosen, kind, config)
            if loss is not None:
                loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - started


def _whole(
    backbone: Backbone,
    scope: Scope,
    blocks: KnowledgeBlocks,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    chosen: range,
    kind: str,
    config: TrainingConfig,
) -> Tensor | None:
    """The loss of one kind for a few edits, by whole forward passes."""
    texts, owners = [], []
    for i in chosen:
        asked = {
            "reliability": (edits[i].prompt,),
            "generality": prompts[i].paraphrases,
            "locality": prompts[i].locality,
        }[kind]
        for prompt in asked:
            texts.append(backbone.join(prompt, edits[i].target, chat=False)[0])
            owners.append(i)
    if not texts:
        return None
    encoding = backbone.encode(texts, chat=False)
    if kind == "locality":
        with torch.no_grad():
            base = backbone.model(**encoding.inputs, use_cache=False).logits
    rows, columns, members = [], [], []
    for row, fired in enumerate(scope.fired([text.text for text in texts])):
        for token, _ in locate(fired[:1], lambda *span: span, encoding.offsets[row]):
            rows.append(row)
            columns.append(encoding.starts[row] + token)
            members.append(owners[row])
    new = torch.tensor(members)
    plan = Plan(
        len(texts), torch.tensor(rows), torch.tensor(columns),
        lambda r, places: blocks(new[places], torch.arange(len(r)), len(r))(0, r),
    )  # fmt: skip
    with replacing(backbone.layer(config.resolve_layers(backbone.n_layers)[0]), plan):
        logits = backbone.model(**encoding.inputs, use_cache=False).logits
    real = encoding.attention_mask[:, 1:].bool()
    if kind == "locality":
        return losses.kl(base[:, :-1][real], logits[:, :-1][real]).mean()
    return losses.nll(logits[:, :-1][real], encoding.input_ids[:, 1:][real]).mean()


def _blocks(read: Tensor, config: TrainingConfig) -> KnowledgeBlocks:
    return KnowledgeBlocks(
        read, kind=config.hypernetwork, form=config.form, scale=[9.0], refine=config.refine
    )


def _flops(backbone: Backbone, layer: int, examples: Sequence[EditExamples]) -> float:
    """Of the matrix products of one epoch: forward, and backward to activations."""
    upper = sum(
        p.numel() for i in range(layer + 1, backbone.n_layers)
        for p in backbone.layer(i).parameters()
    )  # fmt: skip
    head = backbone.model.get_output_embeddings().weight.numel()
    suffixes = [
        (e.text, e.labels is None)
        for own in examples for e in own.reliability + own.generality + own.locality
    ]  # fmt: skip
    total = sum(4.0 * upper * len(suffix.states) for suffix, _ in suffixes)
    return total + sum(head * len(s.scored) * (6.0 if local else 4.0) for s, local in suffixes)


def _matmul_speed(width: int) -> float:
    a, b = (torch.randn(1024, width).bfloat16(), torch.randn(4 * width, width).bfloat16())
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(50):
            torch.nn.functional.linear(a, b)
        best = max(best, 50 * 2.0 * 1024 * 4 * width * width / (time.perf_counter() - started))
    return best


if __name__ == "__main__":
    program(main)
