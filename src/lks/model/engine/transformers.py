"""Scoring and generation over a backbone, shared by the editors that change states or weights.

An editor takes part through `within`: a function from an encoded batch to a context manager that
is open while the model reads that batch. It yields the places that it changes, or None if there
are none before a prompt's last token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import wraps
from typing import Concatenate

import torch
from torch import Tensor

from lks.model.backbone import Backbone
from lks.model.chat import Prompt, Rendered, each_pair, each_prompt
from lks.model.encoding import Encoding, Tokens
from lks.model.engine import encoder_decoder, guard
from lks.model.engine.batching import by_length
from lks.model.engine.generation import ALONE, Stops, check, continued
from lks.model.engine.prefix_cache import PrefixCache, read_prefix
from lks.model.engine.protocol import (
    Findings,
    Generation,
    Intervention,
    Options,
    Result,
    Score,
    noting,
    scored,
)
from lks.model.offsets import tokens_from
from lks.model.untyped import Setting


def _alone(
    function: Callable[Concatenate[Backbone, Options], Result],
) -> Callable[Concatenate[Backbone, Options], Result]:
    """One call at a time for each backbone; threads wait for each other."""

    @wraps(function)
    def alone(backbone: Backbone, /, *args: Options.args, **options: Options.kwargs) -> Result:
        with backbone.in_use, torch.no_grad():
            return function(backbone, *args, **options)

    return alone


@_alone
def score(
    backbone: Backbone,
    /,
    pairs: Sequence[tuple[Prompt, str]],
    intervention: Intervention,
    *,
    chat: bool = False,
    batch_size: int = 16,
    side: str = "right",
    full: bool = False,
) -> list[Score]:
    """Teacher-forced scores of (prompt, target) pairs, in their order.

    Prompt and target are tokenised together (a space between them, none in a chat), and the
    target's tokens are those that reach past the prompt's end. Targets of one token after the same
    prompt, such as the choices of a question, are read once, and so are the tokens that all texts
    begin with, unless padding stands before them.
    """
    if backbone.kind == "encoder-decoder":
        return encoder_decoder.score(
            backbone, pairs, intervention, chat=chat, batch_size=batch_size, full=full
        )
    joined = [backbone.join(prompt, target, chat=chat) for prompt, target in each_pair(pairs)]
    tokenised = [backbone.tokenize(text, chat=chat) for text, _ in joined]
    firsts = [tokens_from(own, end) for (_, own), (_, end) in zip(tokenised, joined, strict=True)]
    backbone.check_lengths([len(ids) for ids, _ in tokenised], [text for text, _ in joined])
    readings = _readings(joined, tokenised, firsts)
    scores: list[Score | None] = [None] * len(pairs)
    prefix = None
    if side == "right":  # what all texts begin with; it ends before the first scored place
        most = max(0, min((firsts[i] for i in readings), default=0) - 1)
        prefix = read_prefix(backbone, [tuple(tokenised[i][0]) for i in readings], most)
    before = prefix.length if prefix else 0
    batch_size = min(batch_size, prefix.batch_size) if prefix else batch_size
    padded = side == "right" or backbone.pads_left
    lengths = {i: len(joined[i][0].text if padded else tokenised[i][0]) for i in readings}
    for chunk in by_length(lengths, batch_size, padded=padded):
        encoding = backbone.encode(
            [joined[i][0] for i in chunk],
            chat=chat,
            side=side,
            tokenised=[tokenised[i] for i in chunk],
        )
        states = _states(backbone, encoding, intervention, chat, prefix)
        rows, columns = list[int](), list[int]()
        asked: list[tuple[int, range, list[int]]] = []
        for row, (i, start) in enumerate(zip(chunk, encoding.starts, strict=True)):
            ids, first = tokenised[i][0], max(firsts[i], 1)  # nothing predicts a first token
            places = range(len(rows), len(rows) + len(ids) - first)
            rows += [row] * len(places)
            columns += range(start + first, start + len(ids))
            for j, token in readings[i].items():
                asked.append((j, places, ids[first:] if token is None else [token]))
        where = torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long)
        logits = backbone.head(states[where[0], where[1] - 1 - before]).float()
        made = scored(logits, [(places, own) for _, places, own in asked], full=full)
        for (j, _, _), own in zip(asked, made, strict=True):
            scores[j] = own
    return scores  # type: ignore[return-value]


def _states(
    backbone: Backbone,
    encoding: Encoding,
    intervention: Intervention,
    chat: bool,
    prefix: PrefixCache | None,
) -> Tensor:
    """The decoder's outputs from the stem on, [b, t - k, d]."""
    past = prefix.cache(len(encoding.texts)) if prefix else None
    with intervention(encoding) as places:
        states = backbone.final_states(encoding, past)
    if prefix is None or places is None:
        return states
    # Rows that are edited in the stem are read whole. The others keep the batch that they have in
    # the unedited model: in another one their last bits might differ.
    rows = torch.unique(places.rows[places.columns < prefix.length])
    if len(rows):
        own = [(encoding.tokens(i), encoding.offsets[i]) for i in rows.tolist()]
        edited = backbone.encode(
            [encoding.texts[i] for i in rows.tolist()], chat=chat, tokenised=own
        )
        with intervention(edited):
            whole = backbone.final_states(edited)[:, prefix.length :]
        states[rows, : whole.shape[1]] = whole
    return states


def generate(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    intervention: Intervention,
    *,
    chat: bool = False,
    max_new_tokens: int = 64,
    batch_size: int = 64,
    **settings: Setting,
) -> list[Generation]:
    """What the model writes after each prompt, greedily, up to its natural stop or the limit.

    Each tells the one from the other, and what fired. Where prompt and text fill the model's
    context, that is the limit.

    `settings` go to the model's `generate` (num_beams, do_sample, ...; `generation.SETTINGS`).

    Raises:
        InputError: a setting cannot be given, or a prompt is longer than the context.
    """
    texts, findings = rendered(backbone, prompts, chat=chat), Findings()
    ids = generate_ids(
        backbone,
        texts,
        noting(intervention, findings),
        chat=chat,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        **settings,
    )
    stops = Stops.of(backbone, settings)
    return [
        Generation(
            backbone.tokenizer.decode(row, skip_special_tokens=True),
            "stop" if stops.ended(backbone, row) else "length",
            findings.get(text, ()),
        )
        for text, row in zip(texts, ids, strict=True)
    ]


def rendered(backbone: Backbone, prompts: Sequence[Prompt], *, chat: bool) -> list[Rendered]:
    """What the model reads for each prompt; InputError for a prompt instead of a list."""
    return [backbone.render(prompt, chat=chat) for prompt in each_prompt(prompts)]


@_alone
def generate_ids(
    backbone: Backbone,
    /,
    texts: Sequence[Rendered],
    intervention: Intervention,
    *,
    chat: bool,
    max_new_tokens: int,
    batch_size: int = 16,
    tokenised: Sequence[Tokens] | None = None,
    **settings: Setting,
) -> list[list[int]]:
    """Tokens written after each rendered text; an end token, if reached, is the last.

    Args:
        tokenised: the texts' tokens, if they are known.
    """
    check(max_new_tokens, settings)
    stops = Stops.of(backbone, settings)
    if stops.strings or any(settings.get(name) is not None for name in ALONE):
        batch_size = 1
    written: list[list[int]] = [[] for _ in texts]
    tokenised = tokenised or [backbone.tokenize(text, chat=chat) for text in texts]
    side = "left" if backbone.kind == "decoder" else "right"
    padded = side == "right" or batch_size == 1 or len(texts) == 1 or backbone.pads_left
    for most, some in _by_room(backbone, texts, tokenised, max_new_tokens).items():
        own = some if most else {}
        lengths = {i: len(texts[i].text if padded else tokenised[i][0]) for i in own}
        for chunk in by_length(lengths, batch_size, padded=padded):
            encoding = backbone.encode(
                [texts[i] for i in chunk],
                chat=chat,
                side=side,
                tokenised=[tokenised[i] for i in chunk],
            )
            with intervention(encoding) as places:
                guarded = guard.settings(backbone, encoding, places, settings)
                out = continued(backbone, encoding.inputs, most, guarded, stops)
            for i, row in zip(chunk, out.tolist(), strict=True):
                written[i] = stops.cut(row)
    return written


def _by_room(
    backbone: Backbone, texts: Sequence[Rendered], tokenised: Sequence[Tokens], most: int
) -> dict[int, dict[int, Rendered]]:
    """Texts by how many tokens may follow them: `most`, or fewer where the context ends."""
    if backbone.context is None:
        return {most: dict(enumerate(texts))}
    if backbone.kind == "encoder-decoder":  # prompts and answers have rooms of their own
        return {min(most, backbone.context): dict(enumerate(texts))}
    lengths = [len(ids) for ids, _ in tokenised]
    backbone.check_lengths(lengths, texts)
    groups: dict[int, dict[int, Rendered]] = {}
    for i, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        room = min(most, backbone.context - length + 1)  # the last one is not read
        groups.setdefault(room, {})[i] = text
    return groups


def _readings(
    joined: Sequence[tuple[Rendered, int]], tokenised: Sequence[Tokens], firsts: Sequence[int]
) -> dict[int, dict[int, int | None]]:
    """For each text to read, the pairs that it serves and their token if they only share it.

    What a causal model predicts in a place does not depend on the token that stands there.
    """
    readings: dict[int, dict[int, int | None]] = {}
    asked = [(text.text[:end], text.pieces) for text, end in joined]
    often, readers = Counter(asked), dict[Hashable, int]()
    for i, ((ids, _), first) in enumerate(zip(tokenised, firsts, strict=True)):
        if often[asked[i]] > 1 and len(ids) > 1 and first == len(ids) - 1:
            reader = readers.setdefault((asked[i], tuple(ids[:-1])), i)
            readings.setdefault(reader, {})[i] = ids[-1]
        else:
            readings[i] = {i: None}
    return readings
