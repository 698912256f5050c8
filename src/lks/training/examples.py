"""Training texts of edits as suffixes, ready to be batched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lks.backbone import Backbone, Rendered
from lks.edits import Edit
from lks.positions import tokens_from
from lks.scope import Scope
from lks.suffix import Row, SplitModel, Suffix
from lks.training.prompts import TrainingPrompts

KINDS = ("reliability", "generality", "locality")
PREPARED_AT_ONCE = 32


@dataclass
class Example:
    """One training text of one edit.

    `members` [k] are the edits that fire in it, `owner` [k] the mention each belongs to;
    `labels` [K] are the tokens to predict, None for locality.
    """

    kind: str
    chat: bool
    suffix: Suffix
    members: Tensor
    owner: Tensor
    labels: Tensor | None


@dataclass
class EditExamples:
    """All examples of one edit: [variant], a variant being a wording and a style (plain, chat)."""

    reliability: list[Example]
    generality: list[Example]
    locality: list[Example]


@dataclass(frozen=True)
class _Text:
    """A text on its way to becoming an example."""

    edit: int
    kind: str
    asked: Rendered
    chat: bool
    target: str | None


def build_examples(
    split: SplitModel,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    scope: Scope,
    *,
    chat: bool,
    kl_tokens: int,
    known: Sequence[Edit] = (),
) -> tuple[list[EditExamples], int]:
    """Examples of every edit, and how many texts were left out because no edit fires in them.

    Edits are numbered in the order of their blocks: `known` ones, which may fire too, and `edits`.
    """
    backbone = split.backbone
    index = {edit.id: i for i, edit in enumerate([*known, *edits])}
    styles = (False, True) if chat and backbone.has_chat else (False,)
    texts = [text for style in styles for text in _texts(backbone, edits, prompts, style)]
    rows, kept, dropped = [], [], 0
    for text in texts:
        row = _tokenised(backbone, scope, text, kl_tokens)
        if row is None:
            dropped += 1
        else:
            rows.append(row)
            kept.append(text)
    examples = [EditExamples([], [], []) for _ in edits]
    found: dict[int, Example] = {}
    for chunk in _same_length([tokenised.row for tokenised in rows]):
        suffixes = split.prepare([rows[i].row for i in chunk])
        for i, suffix in zip(chunk, suffixes, strict=True):
            members = [(index[e], n) for n, ids in enumerate(rows[i].edit_ids) for e in ids]
            pairs = torch.tensor(members, device=backbone.device)
            labels = rows[i].labels
            found[i] = Example(
                kept[i].kind, kept[i].chat, suffix, pairs[:, 0], pairs[:, 1],
                None if labels is None else torch.tensor(labels, device=backbone.device),
            )  # fmt: skip
    for i, text in enumerate(kept):
        getattr(examples[text.edit], text.kind).append(found[i])
    return examples, dropped


def _texts(
    backbone: Backbone, edits: Sequence[Edit], prompts: Sequence[TrainingPrompts], chat: bool
) -> Iterator[_Text]:
    most = 1 if chat else None  # reading chats costs most of the preparation
    for i, (edit, more) in enumerate(zip(edits, prompts, strict=True)):
        wordings = [("reliability", edit.prompt, edit.target)]
        wordings += [("generality", prompt, edit.target) for prompt in more.paraphrases[:most]]
        for kind, prompt, target in wordings:
            joined, _ = backbone.join(prompt, target, chat=chat)
            yield _Text(i, kind, joined, chat, target)
        for prompt in more.locality[:most]:
            yield _Text(i, "locality", backbone.render(prompt, chat=chat), chat, None)


@dataclass(frozen=True)
class _Tokenised:
    row: Row
    edit_ids: list[tuple[str, ...]]
    labels: list[int] | None


def _tokenised(backbone: Backbone, scope: Scope, text: _Text, kl_tokens: int) -> _Tokenised | None:
    """Tokens, mention places and scored places of a text; None if no edit fires in it."""
    asked = text.asked
    ids, offsets = backbone.tokenize(asked.text, chat=text.chat)
    located = scope.locate(asked.text, asked.start, asked.end, offsets)
    if not located:
        return None
    places, edit_ids = [token for token, _ in located], [m.edit_ids for _, m in located]
    if text.target is None:
        row = Row(ids, places, [len(ids) - 1], continued=kl_tokens - 1)
        return _Tokenised(row, edit_ids, None)
    first = tokens_from(offsets, len(asked.text) - len(text.target.strip()))
    stop = backbone.stop_id(chat=text.chat)
    ids = ids if stop is None else [*ids, stop]
    return _Tokenised(Row(ids, places, list(range(first - 1, len(ids) - 1))), edit_ids, ids[first:])


def _same_length(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Indices of rows of one length and one continuation, `PREPARED_AT_ONCE` at a time."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[len(row.ids), row.continued].append(i)
    for _, group in sorted(groups.items()):
        for start in range(0, len(group), PREPARED_AT_ONCE):
            yield group[start : start + PREPARED_AT_ONCE]
