"""Where decoders keep their layers, and copies of them with parts replaced."""

from __future__ import annotations

from torch import nn

from lks.errors import LayerError
from lks.model.untyped import Attribute, CausalLM

# Where architectures keep their decoder layers; the first path that exists is taken.
LAYER_PATHS = (
    "model.layers",  # Llama, Mistral, Qwen, Gemma, Phi-3 and most others
    "model.language_model.layers",  # the text half of multimodal models
    "transformer.h",  # GPT-2
    "gpt_neox.layers",  # GPT-NeoX, Pythia
    "model.decoder.layers",  # OPT
)
NORM_NAMES = ("norm", "ln_f", "final_layer_norm", "final_layernorm")


def get(root: Attribute, path: str) -> Attribute:
    """What stands at a dotted path; None where nothing does."""
    for name in filter(None, path.split(".")):
        root = getattr(root, name, None)
    return root


def find_layers(model: CausalLM, name: str) -> str:
    """The dotted path of a model's decoder layers; LayerError where none is known."""
    for path in LAYER_PATHS:
        if isinstance(get(model, path), nn.ModuleList):
            return path
    raise LayerError(
        f"{name}: decoder layers not found for architecture {type(model).__name__}; give "
        "layers_path (--layers-path), the dotted path of the list of layers, e.g. model.layers"
    )
