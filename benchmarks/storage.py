"""How many bytes an edit takes, part by part: of a pack, of a pack of an earlier version, of RAG.

    python benchmarks/storage.py zsre.jsonl counterfact.jsonl

For each data set and number of edits: makes the gate as training does, saves a pack whose blocks
are random numbers, and counts its files. Before schema 3 the same pack held blocks and metric in
float32, references in float16 and edits as plain text. RAG keeps a sentence and a vector of the
same embedder for each edit: in float32, as `editors.baselines` has them, or in 8 bits and packed,
as packs have theirs. Writes benchmarks/results/storage.json after each; what is there is not made
again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, given, program
from safetensors import safe_open

from lks.blocks.hypernetwork import HyperNetwork
from lks.blocks.rows import rounded
from lks.editors.baselines.in_context import fact
from lks.edits.edit_set import EditSet
from lks.edits.export import to_jsonl
from lks.evaluation.provenance import provenance
from lks.files import packed
from lks.model.embedder import CachedEmbedder, Embedder
from lks.model.fingerprint import Fingerprint
from lks.packs.folder import MANIFEST
from lks.packs.pack import Pack
from lks.packs.records import GATE, HYPERNETWORK, Part
from lks.packs.training_summary import TrainingSummary
from lks.scope.gate.metric import GateState
from lks.training.config import TrainingConfig
from lks.training.gate_metric import learn
from lks.training.prompts import GATE_WORDINGS, training_prompts

WIDTH, LAYERS = 576, 30  # of the default model
Bytes = dict[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=given)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--out", type=Path, default=RESULTS / "storage.json")
    options = parser.parse_args()
    done = json.loads(options.out.read_text()) if options.out.exists() else {}
    known = CachedEmbedder(Embedder())
    for data in options.data:
        rows = EditSet.load(data)
        for size in options.sizes:
            if (name := f"{data.stem}-{size}") not in done:
                done[name] = {**provenance(), **_counted(rows, size, known)}
                options.out.write_text(json.dumps(done, indent=2) + "\n")
            shown = done[name]
            print(name, {k: v for k, v in shown.items() if k.endswith("each")}, flush=True)


def _counted(rows: EditSet, size: int, known: CachedEmbedder) -> dict[str, Any]:
    edits = rows[:size]
    lent, _ = training_prompts(edits, rows, embed=known, most=GATE_WORDINGS)
    prompts = [own.at_most(GATE_WORDINGS, e) for e, own in zip(edits, lent, strict=True)]
    metric, exemplars = learn(known, edits, prompts)
    config = TrainingConfig()
    pack = Pack(
        edits=edits,
        blocks=rounded(torch.randn(len(edits), WIDTH)),
        hypernetwork=dict(HyperNetwork(WIDTH, config.hypernetwork).state_dict()),
        base_model=Fingerprint("model", LAYERS, WIDTH, "", "", ""),
        layer=config.resolve_layer(LAYERS),
        form=config.form,
        kind=config.hypernetwork,
        scale=1.0,
        training=TrainingSummary(config=config.to_json()),
        gate=GateState(metric, exemplars, known.name, ""),
    )
    kinds = {
        "now": _saved(pack),
        "before": _before(pack, exemplars.vectors.shape[1]),
        "rag": _rag(edits, exemplars.vectors.shape[1], 4),
        "rag_8_bits": _rag(edits, exemplars.vectors.shape[1], 1),
    }
    return {
        "edits": len(edits), "references": len(exemplars.edit),
        "different_references": len(exemplars.vectors), **kinds,
        **{f"{kind}_each": round(_to_serve(own) / len(edits)) for kind, own in kinds.items()},
    }  # fmt: skip


def _to_serve(parts: Mapping[str, int]) -> int:
    """All but what only adding further edits needs."""
    return sum(parts.values()) - parts.get("hypernetwork", 0)


def _saved(pack: Pack) -> Bytes:
    """The files of a pack; that of the blocks by its tensors."""
    with tempfile.TemporaryDirectory() as folder:
        path, part = Path(folder) / "p", Part.of_version(1)
        pack.save(path)
        sizes = {file.name: file.stat().st_size for file in path.iterdir()}
        with safe_open(path / part.blocks, "numpy") as stored:
            own = {name: stored.get_tensor(name).nbytes for name in stored.keys()}  # noqa: SIM118
    blocks, vectors = own["blocks"] + own["scales"], own["references.vectors"]
    numbers = sum(own.values()) - blocks - vectors
    return {
        "blocks": blocks, "references": vectors, "numbers": numbers,
        "ids": sizes[part.blocks] - sum(own.values()),
        "metric": sizes[GATE], "edits": sizes[part.edits], "manifest": sizes[MANIFEST],
        "hypernetwork": sizes[HYPERNETWORK],
    }  # fmt: skip


def _before(pack: Pack, width: int) -> Bytes:
    """The same in the types of schema 2."""
    assert pack.gate is not None
    metric, exemplars, now = pack.gate.metric, pack.gate.exemplars, _saved(pack)
    return {
        **now,
        "blocks": 4 * pack.blocks.numel(),
        "references": 2 * exemplars.vectors.size,
        "numbers": (8 + 8 + 1) * len(exemplars.edit),
        "metric": 4 * (metric.matrix.size + len(metric.open_ended) * width),
        "edits": len(to_jsonl(pack.edits).encode()),
    }


def _rag(edits: EditSet, width: int, bytes_a_number: int) -> Bytes:
    """A sentence and a vector for each edit; the sentences packed where the vectors are."""
    text = "\n".join(map(fact, edits)).encode()
    written = text if bytes_a_number == 4 else packed(text)
    return {"edits": len(written), "references": bytes_a_number * width * len(edits)}


if __name__ == "__main__":
    program(main)
