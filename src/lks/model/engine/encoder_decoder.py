"""Scoring by an encoder-decoder: the encoder reads the prompt, its decoder the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from lks.model.backbone import Backbone
from lks.model.chat import Prompt, each_pair
from lks.model.engine.batching import by_length, filled
from lks.model.engine.protocol import Intervention, Score, scored


def score(
    backbone: Backbone,
    pairs: Sequence[tuple[Prompt, str]],
    intervention: Intervention,
    *,
    chat: bool,
    batch_size: int,
    full: bool,
) -> list[Score]:
    """Arguments as of `engine.transformers.score`."""
    pairs = each_pair(pairs)
    texts = [backbone.render(prompt, chat=chat) for prompt, _ in pairs]
    answers = [backbone.answer(target) for _, target in pairs]
    tokenised = [backbone.tokenize(text, chat=chat) for text in texts]
    backbone.check_lengths([len(ids) for ids, _ in tokenised], texts)
    found: dict[int, Score] = {}
    lengths = {i: len(ids) for i, (ids, _) in enumerate(tokenised)}
    for chunk in by_length(lengths, batch_size):
        rows = [tokenised[i] for i in chunk]
        encoding = backbone.encode([texts[i] for i in chunk], chat=chat, tokenised=rows)
        written = [[*begun, *target] for begun, target in (answers[i] for i in chunk)]
        ids, _ = filled(written, backbone.device)
        encoding = replace(encoding, written=ids)
        with intervention(encoding):
            states = backbone.final_states(encoding)
        at, targets = list[tuple[int, int]](), list[tuple[range, list[int]]]()
        for row, i in enumerate(chunk):
            begun, target = answers[i]
            targets.append((range(len(at), len(at) + len(target)), target))
            at += [(row, len(begun) - 1 + k) for k in range(len(target))]
        rows_at, columns = torch.tensor(at, dtype=torch.long).reshape(-1, 2).T
        logits = backbone.head(states[rows_at, columns]).float()
        found.update(zip(chunk, scored(logits, targets, full=full), strict=True))
    return [found[i] for i in range(len(texts))]
