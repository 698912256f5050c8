"""Make the blocks for yes and for no that come with the package, for the models by name.

    python tools/verdict_blocks.py [MODEL ...]

Those of other models in the file stay. Minutes for each model on a CPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lks.model.backbone import Backbone
from lks.training import verdicts
from lks.training.config import TrainingConfig

FILE = Path(verdicts.__file__).with_name("verdicts.safetensors")
MODELS = {"smollm2-135m": "float32", "qwen2.5-coder-1.5b": "bfloat16"}  # as they are used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    made = load_file(FILE) if FILE.is_file() else {}
    for name in args.models:
        backbone, config = Backbone.load(name, dtype=MODELS[name]), TrainingConfig()
        layers = config.resolve_layers(backbone.n_layers)
        found = verdicts.learnt(backbone, layers, config)
        if found is None:
            raise SystemExit(f"{name}: yes and no were not learnt")
        made[verdicts.shipped_name(backbone, layers)] = found.half()
        save_file(made, FILE)
        print(f"{name}, {MODELS[name]}: layers {layers}", flush=True)


if __name__ == "__main__":
    main()
