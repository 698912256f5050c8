"""Where a model keeps the layers that are edited: a decoder's, or of two stacks the encoder's."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from lks.errors import LayerError
from lks.model.engine.running import bare
from lks.model.untyped import Attribute, CausalLM

# Of models that do not say where their decoder is; the first path that exists is taken.
LAYER_PATHS = (
    "model.layers",  # Llama, Mistral, Qwen, Gemma, Phi-3 and most others
    "model.language_model.layers",  # the text half of multimodal models
    "transformer.h",  # GPT-2
    "gpt_neox.layers",  # GPT-NeoX, Pythia
    "model.decoder.layers",  # OPT
)


def get(root: Attribute, path: str) -> Attribute:
    """What stands at a dotted path; None where nothing does."""
    for name in filter(None, path.split(".")):
        root = getattr(root, name, None)
    return root


def is_encoder_decoder(model: CausalLM) -> bool:
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def find_layers(model: CausalLM, name: str) -> str:
    """The dotted path of the layers that are edited; LayerError where none is known."""
    paths = {id(bare(module)): path for path, module in reversed([*_modules(model)])}
    for stack in _stacks(model):
        own = {
            key: child for key, child in stack.named_children() if isinstance(child, nn.ModuleList)
        }
        if own and id(stack) in paths:
            longest = max(own, key=lambda key: len(own[key]))
            return ".".join(filter(None, (paths[id(stack)], longest)))
    for path in LAYER_PATHS:
        if isinstance(bare(get(model, path)), nn.ModuleList):
            return path
    raise LayerError(
        f"{name}: decoder layers not found for architecture {type(model).__name__}; give "
        "layers_path (--layers-path), the dotted path of the list of layers, e.g. model.layers"
    )


def _stacks(model: CausalLM) -> Iterator[nn.Module]:
    """Modules that may hold the layers, as the model tells it; the likeliest first."""
    ask = "get_encoder" if is_encoder_decoder(model) else "get_decoder"
    if hasattr(model, ask):
        yield bare(getattr(model, ask)())
    if hasattr(model, "base_model"):
        yield bare(model.base_model)


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules with their paths, without what torch.compile puts around them."""
    for path, module in model.named_modules():
        yield ".".join(part for part in path.split(".") if part != "_orig_mod"), module
