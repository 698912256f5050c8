"""Looking through a model's own text as it grows: an entity named there may be an edited one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from lks.model.backbone import Backbone
from lks.model.chat import Piece, Prompt, Rendered
from lks.model.engine.generation import Stops
from lks.model.engine.protocol import Intervention, Written
from lks.model.engine.transformers import generate_ids, rendered
from lks.model.untyped import Setting

MOST_RESCANS = 8  # times that one text is taken up anew


def generate(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    intervention: Intervention,
    fired: Callable[[Rendered], Hashable],
    *,
    chat: bool = False,
    max_new_tokens: int = 64,
    **settings: Setting,
) -> list[str]:
    """What the model writes after each prompt, edits that its own text fires included.

    Where a scan of prompt and text finds other edits than the prompt alone, the model goes on
    from the first word that made the difference, with those edits in force.

    Args:
        fired: what fires in a text, and where; compared for equality.
    """
    texts = rendered(backbone, prompts, chat=chat)
    stops = Stops.of(backbone, settings)
    written, ended = [""] * len(texts), [False] * len(texts)
    left, again = [max_new_tokens] * len(texts), list(range(len(texts)))
    for turn in range(MOST_RESCANS):
        grown = [_with(texts[i], written[i]) for i in again]
        new = generate_ids(
            backbone,
            grown,
            intervention,
            chat=chat,
            max_new_tokens=max(left[i] for i in again),
            **settings,
        )
        changed = []
        for i, before, ids in zip(again, grown, new, strict=True):
            own = ids[: left[i]]
            more = _behind(backbone, before, own, chat=chat)
            kept = _until_change(before, more, fired) if turn + 1 < MOST_RESCANS else len(more)
            written[i] += more[:kept]
            left[i] -= len(backbone.tokenizer(more[:kept], add_special_tokens=False).input_ids)
            ended[i] = kept == len(more) and stops.ended(backbone, own)
            if kept < len(more) and left[i] > 0:
                changed.append(i)
        again = changed
        if not again:
            break
    return [Written.of(t, ended=e) for t, e in zip(written, ended, strict=True)]


def _behind(backbone: Backbone, before: Rendered, ids: Sequence[int], *, chat: bool) -> str:
    """Tokens as they read behind a text: alone, some tokenizers leave the first space out."""
    tokens, _ = backbone.tokenize(before, chat=chat)
    own = [token for token in ids if token not in backbone.special_ids]
    last, both = (
        str(backbone.tokenizer.decode(ids)) for ids in (tokens[-1:], [*tokens[-1:], *own])
    )
    return both[len(last) :]


def _with(rendered: Rendered, written: str) -> Rendered:
    """A text with what was written after it, which counts as the assistant's."""
    if not written:
        return rendered
    start = len(rendered.text)
    own = Piece(start, start + len(written), "assistant")
    return replace(rendered, text=rendered.text + written, pieces=(*rendered.pieces, own))


def _until_change(before: Rendered, more: str, fired: Callable[[Rendered], Hashable]) -> int:
    """How many characters of `more` there are when other edits fire than at first; all if never."""
    start = fired(before)
    ends = [i for i in range(1, len(more)) if not more[i].isalnum() and more[i - 1].isalnum()]
    for end in ends:
        if fired(_with(before, more[:end])) != start:
            return end
    return len(more)
