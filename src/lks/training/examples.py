"""Training texts of edits as an engine has read them, ready to be batched."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from torch import Tensor

from lks.blocks.placement import locate
from lks.edits.edit import Edit
from lks.model.backbone import Backbone
from lks.model.chat import Prompt, Rendered
from lks.model.engine.batching import Text
from lks.model.engine.choice import AnyEngine
from lks.model.engine.reader import TextRow, predicted
from lks.model.engine.tensor_store import TensorStore
from lks.model.offsets import tokens_from
from lks.scope.scope import Scope
from lks.training.distributed import ProcessGroup
from lks.training.presence import STATED, Reply
from lks.training.progress import OnProgress
from lks.training.prompts import TrainingPrompts
from lks.training.talks import behind_talk, follow_up, without_name

FEW, CHATS = 300, 3  # edits of which each is read in so many wordings in a chat, else in one
LATER = 2  # and asked in so many later turns
PLAIN_KINDS = ("reliability", "generality", "locality")
TEXT_KINDS = (*PLAIN_KINDS, "distilled")  # the last one where there is a teacher


@dataclass
class Example:
    """One training text of one edit.

    `edit` is the number of the edit it belongs to; `members` [k] are the edits that fire in it,
    `owner` [k] the mention each of these belongs to; `labels` [K] are the tokens to predict, None
    for locality and where a teacher is followed. Of that one `likeliest` are the tokens that it
    holds likeliest, [K, 2, k] as of `losses.top_k`.
    """

    edit: int
    kind: str
    chat: bool
    text: Text
    members: Tensor
    owner: Tensor
    labels: Tensor | None
    likeliest: Tensor | None = None


@dataclass
class EditExamples:
    """All examples of one edit: [variant], a variant being a wording and a style (plain, chat)."""

    reliability: list[Example]
    generality: list[Example]
    locality: list[Example]
    distilled: list[Example] = field(default_factory=list)


@dataclass(frozen=True)
class _Text:
    """A text on its way to becoming an example."""

    edit: int
    kind: str
    asked: Rendered
    chat: bool
    target: int | None  # where in the text what is to be written begins, if anything is
    answer: str | None = None  # what an encoder-decoder's decoder is to write
    made: bool = False  # here: left out where the model cannot read so much
    reply: Reply | None = None  # the teacher's, if it is that


def build_examples(
    engine: AnyEngine,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    scope: Scope,
    *,
    chat: bool,
    kl_tokens: int,
    alone: bool = False,
    known: Sequence[Edit] = (),
    replies: Sequence[Sequence[Reply]] = (),
    store: TensorStore | None = None,
    team: ProcessGroup | None = None,
    on_progress: OnProgress = lambda stage, done, of: None,
) -> tuple[list[EditExamples], int]:
    """Examples of every edit, and how many texts were left out because no edit fires in them.

    Edits are numbered in the order of their blocks: `known` ones, which may fire too, and `edits`.
    The texts are kept in `store`; of several processes, each makes those of its own edits only.

    Args:
        kl_tokens: scored places of a locality prompt; with 0 none is read.
        alone: in each text only the edit that it belongs to fires, as with a relation gate.
        replies: a teacher's to questions about each edit, if there is one. Its chats are what is
            learnt of chats then, where one of them states the target.
    """
    backbone = engine.backbone
    index = {edit.id: i for i, edit in enumerate([*known, *edits])}
    styles = (False, True) if chat and backbone.has_chat else (False,)
    examples, dropped = [EditExamples([], [], []) for _ in edits], 0
    for style in styles:
        kept, rows = [], []
        texts = _texts(backbone, edits, prompts, style, locality=kl_tokens > 0)
        if style and replies:
            states = [any(r.question.kind in STATED for r in own) for own in replies]
            unstated = (text for text in texts if not states[text.edit])
            texts = chain(_replied(backbone, replies), unstated)
        for text in texts:
            if team is not None and not team.owns(text.edit):
                continue
            only = edits[text.edit].id if alone else None
            row = _tokenised(backbone, scope, text, kl_tokens, only)
            if row is None:
                dropped += 1
            elif not text.made or len(row.row.ids) <= (backbone.context or len(row.row.ids)):
                kept.append(text)
                rows.append(row)
        told = _counter(on_progress, "reading chats" if style else "reading", len(rows))
        read = engine.read([row.row for row in rows], store, told)
        for text, row, made in zip(kept, rows, read, strict=True):
            own = getattr(examples[text.edit], text.kind)
            own.append(_example(text, row, made, index, engine.device))
    return examples, dropped


def _counter(on_progress: OnProgress, stage: str, of: int) -> Callable[[int], None]:
    return lambda done: on_progress(stage, done, of)


def features(examples: Sequence[EditExamples]) -> Tensor:
    """f_e: output of layer l at the last token of "prompt target", [n, d] float32."""
    return torch.stack([edit.reliability[0].text.feature for edit in examples]).float()


def _example(
    text: _Text, tokenised: _Tokenised, read: Text, index: dict[str, int], device: torch.device
) -> Example:
    members = [(index[e], n) for n, ids in enumerate(tokenised.edit_ids) for e in ids]
    pairs = torch.tensor(members, device=device)
    labels = tokenised.labels
    return Example(
        text.edit,
        text.kind,
        text.chat,
        read,
        members=pairs[:, 0],
        owner=pairs[:, 1],
        labels=None if labels is None else torch.tensor(labels, device=device),
        likeliest=None if text.reply is None else text.reply.likeliest.to(device),
    )


def _replied(backbone: Backbone, replies: Sequence[Sequence[Reply]]) -> Iterator[_Text]:
    """What a teacher answered, behind the questions alone."""
    for i, own in enumerate(replies):
        for reply in own:
            asked = backbone.render(reply.question.turns, chat=True)
            yield _Text(i, "distilled", asked, True, None, made=True, reply=reply)


def _texts(
    backbone: Backbone,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    chat: bool,
    *,
    locality: bool,
) -> Iterator[_Text]:
    most = None  # reading chats costs most of the preparation
    if chat:
        most = CHATS if len(edits) <= FEW else 1
    for i, (edit, more) in enumerate(zip(edits, prompts, strict=True)):
        wordings: list[tuple[str, Prompt, str]] = [("reliability", edit.prompt, edit.target)]
        own = (*more.paraphrases, *more.common, *more.otherwise)
        if chat:  # as people ask, rather than as the file is written
            own = (*more.common, *more.paraphrases, *more.otherwise)[:most]
            wordings += [
                ("generality", talk, edit.target) for talk in _later(edit, more, len(edits))
            ]
        wordings += [("generality", prompt, edit.target) for prompt in own]
        for kind, prompt, target in wordings:
            made = not isinstance(prompt, str)
            if backbone.kind == "encoder-decoder":
                asked = backbone.render(prompt, chat=chat)
                yield _Text(i, kind, asked, chat, None, target, made=made)
                continue
            joined, end = backbone.join(prompt, target, chat=chat)
            yield _Text(i, kind, joined, chat, end, made=made)
        for prompt in more.locality[:most] if locality else ():
            yield _Text(i, "locality", backbone.render(prompt, chat=chat), chat, None)


def _later(edit: Edit, more: TrainingPrompts, edits: int) -> Iterator[Prompt]:
    """Chats in which the edit is asked late, for few edits."""
    if edits > FEW or edit.profile_of:
        return
    rng = random.Random(edit.id)
    questions = more.later or [
        without_name(edit, text) for text in (edit.prompt, *more.paraphrases)
    ]
    for question in rng.sample(questions, min(LATER, len(questions))):
        yield follow_up(edit.subject, question, rng)
    yield behind_talk(rng.choice([edit.prompt, *more.paraphrases, *more.common]), rng)


@dataclass(frozen=True)
class _Tokenised:
    row: TextRow
    labels: list[int] | None
    edit_ids: list[tuple[str, ...]]


def _tokenised(
    backbone: Backbone, scope: Scope, text: _Text, kl_tokens: int, only: str | None
) -> _Tokenised | None:
    """Tokens, mention places and scored places of a text; None if no edit fires in it.

    Args:
        only: the one edit that may fire.
    """
    asked = text.asked
    ids, offsets = backbone.tokenize(asked, chat=text.chat)
    scanned, place = asked.scanned()
    (mentions,) = scope.fired([scanned])
    if only is not None:
        mentions = [replace(m, edit_ids=(only,)) for m in mentions if only in m.edit_ids]
    located = locate(mentions, place, offsets)
    if not located:
        return None
    places, edit_ids = [token for token, _ in located], [m.edit_ids for _, m in located]
    if backbone.kind == "encoder-decoder":
        return _Tokenised(*_answered(backbone, text, ids, places, kl_tokens), edit_ids)
    prefix = min(tokens_from(offsets, mention.start) for _, mention in located)
    if text.reply is not None:
        scored = [len(ids) - 1 + i for i in range(len(text.reply.likeliest))]
        row = TextRow([*ids, *text.reply.tokens], places, scored, prefix)
        return _Tokenised(row, None, edit_ids)
    if text.target is None:
        room = kl_tokens if backbone.context is None else backbone.context - len(ids)
        more = min(kl_tokens - 1, max(room, 0))
        row = TextRow(ids, places, [len(ids) - 1], prefix, final=True, continued=more)
        return _Tokenised(row, None, edit_ids)
    first = tokens_from(offsets, text.target)  # the space before it too, if that is a token
    scored, labels = predicted(ids, first, backbone.stop_id(chat=text.chat))
    return _Tokenised(TextRow(ids, places, scored, prefix), labels, edit_ids)


def _answered(
    backbone: Backbone, text: _Text, ids: list[int], places: list[int], kl_tokens: int
) -> tuple[TextRow, list[int] | None]:
    """What an encoder-decoder reads, and what its decoder is to write.

    The feature is of prompt and target in one text, as of a decoder.
    """
    begun, target = backbone.answer(text.answer or "")
    if text.answer is None:
        last = [len(begun) - 1]
        more = kl_tokens - 1
        return TextRow(ids, places, last, final=True, continued=more, written=begun), None
    stop = backbone.stop_id(chat=text.chat)
    scored, labels = predicted([*begun, *target], len(begun), stop)
    stated = None
    if text.kind == "reliability":
        whole, _ = backbone.join(text.asked.text, text.answer, chat=False)
        stated, _ = backbone.tokenize(whole, chat=text.chat)
    row = TextRow(ids, places, scored, written=[*begun, *target], stated=stated)
    return row, labels
