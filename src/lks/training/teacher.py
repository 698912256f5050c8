"""Context distillation: what the model itself answers when the fact stands in its prompt.

A teacher's answer is written once, greedily, and what it holds likeliest at each of its places is
kept. The student is the same model without the fact in its prompt, and with the block in force.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lks.edits.edit import Edit
from lks.edits.text import same_text
from lks.model.backbone import Backbone
from lks.model.engine.batching import by_length
from lks.model.engine.generation import RULES, Stops, continued
from lks.training import losses
from lks.training.presence import HINT, STATED, VERDICTS, Question, Reply, questions
from lks.training.progress import OnProgress
from lks.training.prompts import TrainingPrompts
from lks.training.stating import stated

LONGEST = 24  # tokens of an answer
DECISIVE = 4  # of a yes or no: further ones would outweigh the first
LIKELIEST = 32  # tokens that are kept of each place
BATCH = 32


def taught(
    backbone: Backbone,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    seed: int,
    on_progress: OnProgress,
) -> list[list[Reply]]:
    """What a teacher that is told each edit's fact replies to questions about it.

    Args:
        prompts: training prompts of each edit, in the same order.
    """
    values = list(dict.fromkeys(edit.target for edit in edits))
    asked: list[tuple[int, Question]] = []
    forms = stated(backbone, edits)
    for i, (edit, more, form) in enumerate(zip(edits, prompts, forms, strict=True)):
        others = [value for value in values if value != edit.target]
        own = questions(edit, more, form, others, random.Random(f"{seed} {edit.id}"))
        asked += [(i, question) for question in own]
    found: list[list[Reply]] = [[] for _ in edits]
    done = 0
    for verdict, most in ((True, DECISIVE), (False, LONGEST)):
        some = [pair for pair in asked if (pair[1].kind in VERDICTS) == verdict]
        for number, reply in answered(backbone, [question for _, question in some], most):
            i, done = some[number][0], done + 1
            if _is_right(reply, edits[i].target):
                found[i].append(reply)
            on_progress("asking the teacher", done, len(asked))
    return found


def _is_right(reply: Reply, target: str) -> bool:
    """Whether an answer is worth following."""
    kind, said = reply.question.kind, reply.text.casefold()
    if kind in STATED:
        return same_text(target) in same_text(said)
    return bool(said) and (kind not in VERDICTS or said.startswith(kind)) and HINT not in said


@torch.no_grad()
def answered(
    backbone: Backbone, asked: Sequence[Question], most: int
) -> Iterator[tuple[int, Reply]]:
    """(number of the question, what is answered in so many tokens), as the answers come."""
    texts = [backbone.render(own.with_fact, chat=True) for own in asked]
    tokenised = [backbone.tokenize(text, chat=True) for text in texts]
    stops = Stops.of(backbone, {})
    lengths = {i: len(ids) for i, (ids, _) in enumerate(tokenised)}
    for chunk in by_length(lengths, BATCH, padded=backbone.pads_left):
        places: list[Tensor] = []

        def note(ids: Tensor, scores: Tensor, places: list[Tensor] = places) -> Tensor:
            places.append(losses.top_k(scores.log_softmax(-1), LIKELIEST).cpu())
            return scores

        encoding = backbone.encode(
            [texts[i] for i in chunk],
            chat=True,
            side="left",
            tokenised=[tokenised[i] for i in chunk],
        )
        with backbone.in_use:
            noted = {**dict.fromkeys(RULES), "logits_processor": [note]}  # what training sees
            written = continued(backbone, encoding.inputs, most, noted, stops)
        likeliest = torch.stack(places, 1)  # [b, steps, 2, k]
        for row, i in enumerate(chunk):
            ids = stops.cut(written[row].tolist())
            tokens = [token for token in ids if token not in stops.tokens]
            text = str(backbone.tokenizer.decode(tokens, skip_special_tokens=True)).strip()
            yield i, Reply(asked[i], text, tuple(tokens), likeliest[row, : len(ids)])
