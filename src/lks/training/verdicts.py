"""Yes to a fact, and no to another value in its place: what the verdict is, is known.

The wrong values are what the model itself says without the edit, what it finds likely beside that,
and the targets of other edits.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch

from lks.edits.edit import Edit
from lks.model.backbone import Backbone
from lks.model.offsets import tokens_from
from lks.training.presence import Question, Reply, verdicts
from lks.training.progress import OnProgress
from lks.training.stating import stated, unlike, written

BRIEFLY = "Answer with a few words only. {}"
LONGEST, WORDS = 12, 5  # tokens of an answer that the model gives, and words of what counts as one


def known(
    backbone: Backbone, edits: Sequence[Edit], seed: int, on_progress: OnProgress
) -> list[list[Reply]]:
    """Yes-or-no questions about each edit, and the first token of what is right."""
    values = list(dict.fromkeys(edit.target for edit in edits))
    on_progress("asking yes or no", 0, len(edits))
    found: list[list[Reply]] = []
    forms = stated(backbone, edits)
    for edit, form, old in zip(edits, forms, _old_answers(backbone, edits), strict=True):
        form = replace(form, others=(*old, *form.others))
        others = [value for value in values if unlike(value, edit.target)]
        asked = verdicts(edit, form, others, random.Random(f"{seed} {edit.id}"))
        found.append([_reply(backbone, question) for question in asked])
        on_progress("asking yes or no", len(found), len(edits))
    return found


def _old_answers(backbone: Backbone, edits: Sequence[Edit]) -> list[tuple[str, ...]]:
    """What the unedited model says of each edit's prompt, if that is a value, and another one."""
    chats = [[{"role": "user", "content": BRIEFLY.format(edit.prompt)}] for edit in edits]
    texts = written(backbone, chats, LONGEST)
    values = [text.strip().partition("\n")[0].strip(" .") for text in texts]
    return [
        (value,) if value and len(value.split()) <= WORDS and _differs(value, edit) else ()
        for value, edit in zip(values, edits, strict=True)
    ]


def _differs(value: str, edit: Edit) -> bool:
    return unlike(value, edit.target) and unlike(value, edit.subject)


def _reply(backbone: Backbone, question: Question) -> Reply:
    joined, end = backbone.join(question.turns, question.kind.capitalize(), chat=True)
    ids, offsets = backbone.tokenize(joined, chat=True)
    first = ids[tokens_from(offsets, end)]
    return Reply(question, question.kind, (first,), torch.tensor([[[0.0], [float(first)]]]))
