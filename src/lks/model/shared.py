"""A second set of modules over the same weights, for whoever changes how a model runs."""

from __future__ import annotations

import copy

from lks.errors import ModelError
from lks.model.backbone import Backbone


def shared(backbone: Backbone) -> Backbone:
    """The same model in modules of its own: hooks and settings of one do not reach the other.

    Every parameter and buffer is the same tensor in both, so weights take no memory twice, and
    tied ones stay tied.

    Raises:
        ModelError: a module's `forward` is bound to the module, so that a copy would run it.
    """
    with backbone.in_use:  # no hook of another thread is copied
        if backbone.bound:
            raise ModelError(
                f"{backbone.name}: its modules are wrapped, as by Accelerate or torch.compile, and "
                "cannot be used twice; load the model on one device, uncompiled"
            )
        model = backbone.model
        memo = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        return Backbone(
            copy.deepcopy(model, memo), backbone.tokenizer, backbone.name, backbone.layers_path
        )
