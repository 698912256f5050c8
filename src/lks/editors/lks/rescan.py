"""What the model writes when its own words may fire edits, too."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from torch import nn

from lks.blocks.growing import Growing, Looking
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.encoding import Encoding
from lks.model.engine.generation import Stops
from lks.model.engine.hook import Plan
from lks.model.engine.protocol import Generation, Intervention
from lks.model.engine.transformers import generate_ids, rendered
from lks.model.untyped import Setting


def generate(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    look: Looking,
    layers: Sequence[nn.Module],
    *,
    chat: bool = False,
    max_new_tokens: int = 64,
    **settings: Setting,
) -> list[Generation]:
    """What the model writes after each prompt, edits that its own text fires included.

    Args:
        layers: that blocks belong to.
    """
    read = rendered(backbone, prompts, chat=chat)
    tokens = [backbone.tokenize(text, chat=chat) for text in read]
    found = look(read, [offsets for _, offsets in tokens])
    texts = [Growing(look, *own, chat=chat) for own in zip(read, tokens, found, strict=True)]
    stops, ended, left = Stops.of(backbone, settings), set[int](), {*range(len(texts))}
    while left:
        # Targets first, a few tokens each: then all go on together.
        now = [i for i in sorted(left) if texts[i].most < max_new_tokens] or sorted(left)
        some = [texts[i] for i in now]
        rooms = [min(own.most, max_new_tokens - len(own.written)) for own in some]
        new = generate_ids(
            backbone,
            [growing.text for growing in some],
            _within(look, layers, some),
            tokenised=[growing.tokens for growing in some],
            chat=chat,
            max_new_tokens=int(max(rooms)),
            **settings,
        )
        for i, growing, ids in zip(now, some, new, strict=True):
            own = ids[: max_new_tokens - len(growing.written)]
            if any(growing.take(token) for token in own):
                continue
            if stops.ended(backbone, growing.written):
                ended.add(i)
            if i in ended or len(growing.written) >= max_new_tokens or len(own) < max(rooms):
                left.remove(i)
    return [
        Generation(
            backbone.tokenizer.decode(growing.written, skip_special_tokens=True),
            "stop" if i in ended else "length",
            growing.findings,
        )
        for i, growing in enumerate(texts)
    ]


def _within(look: Looking, layers: Sequence[nn.Module], some: Sequence[Growing]) -> Intervention:
    """What puts in the blocks of what has fired in each of some texts."""
    located = {id(growing.text): growing.located for growing in some}

    def intervention(encoding: Encoding) -> AbstractContextManager[Plan]:
        own = [located[id(text)] for text in encoding.texts]
        return look.in_force.replacing(layers, encoding, own)

    return intervention
