"""Looking through a model's own text as it grows: an entity named there may be an edited one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from lks.blocks.in_force import Scan
from lks.model.backbone import Backbone
from lks.model.chat import Piece, Prompt, Rendered
from lks.model.engine.generation import Stops
from lks.model.engine.protocol import Findings, Generation, Intervention, noting
from lks.model.engine.transformers import generate_ids, rendered
from lks.model.untyped import Setting

MOST_RESCANS = 8  # times that one text is taken up anew
SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s|\n|(?<=[。！？])(?=.)")
WORD_END = re.compile(r"(?<=[^\W_])(?=[\W_])")


def generate(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    intervention: Intervention,
    scan: Callable[[Rendered], Scan],
    *,
    chat: bool = False,
    max_new_tokens: int = 64,
    **settings: Setting,
) -> list[Generation]:
    """What the model writes after each prompt, edits that its own text fires included.

    Where a scan of prompt and text finds other edits than the prompt alone, the model goes on
    from the first word that made the difference, with those edits in force.

    Args:
        scan: looks through a text.
    """
    texts, findings = rendered(backbone, prompts, chat=chat), Findings()
    read, stops = dict(enumerate(texts)), Stops.of(backbone, settings)
    written, ended = [""] * len(texts), [False] * len(texts)
    left, again = [max_new_tokens] * len(texts), list(range(len(texts)))
    for turn in range(MOST_RESCANS):
        grown = [_with(texts[i], written[i]) for i in again]
        read |= zip(again, grown, strict=True)
        new = generate_ids(
            backbone,
            grown,
            noting(intervention, findings),
            chat=chat,
            max_new_tokens=max(left[i] for i in again),
            **settings,
        )
        changed = []
        for i, before, ids in zip(again, grown, new, strict=True):
            own = ids[: left[i]]
            more = _behind(backbone, before, own, chat=chat)
            kept = _until_change(before, more, scan) if turn + 1 < MOST_RESCANS else len(more)
            written[i] += more[:kept]
            left[i] -= len(backbone.tokenizer(more[:kept], add_special_tokens=False).input_ids)
            ended[i] = kept == len(more) and stops.ended(backbone, own)
            if kept < len(more) and left[i] > 0:
                changed.append(i)
        again = changed
        if not again:
            break
    return [
        Generation(text, "stop" if end else "length", findings.get(own, ()))
        for text, end, own in zip(written, ended, read.values(), strict=True)
    ]


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
    return replace(
        rendered,
        text=rendered.text + written,
        pieces=(*rendered.pieces, own),
        begun=start if rendered.begun is None else rendered.begun,
    )


def _until_change(before: Rendered, more: str, scan: Callable[[Rendered], Scan]) -> int:
    """How many characters of `more` there are when other edits fire than at first; all if never.

    That is the end of a word. What fires changes at a name, behind one in its sentence, or when a
    sentence has ended: other words are looked at only where it has changed since.
    """
    start = scan(before).fired
    names = [end - len(before.text) for end in scan(_with(before, more)).ends]
    ends, last = [match.start() for match in WORD_END.finditer(more)], 0

    def changed(end: int) -> bool:
        return scan(_with(before, more[:end])).fired != start

    for end in _looked_at(more, ends, names):
        if changed(end):
            return next(each for each in ends if each == end or (each > last and changed(each)))
        last = end
    return len(more)


def _looked_at(text: str, ends: Sequence[int], names: Sequence[int]) -> Iterator[int]:
    """The ends of words, `ends`, that follow a name in its sentence or are a sentence's last."""
    first = 0
    for last in [*(match.start() for match in SENTENCE_END.finditer(text)), len(text)]:
        words = [end for end in ends if first < end <= last]
        name = min((end for end in names if first < end <= last), default=last)
        yield from [end for end in words if end >= name] or words[-1:]
        first = last
