"""Learning what to add to one hidden state so that the model states an edit's target.

Many edits are learnt side by side, each from its own texts and with its own optimiser state. What
stands before the place of the change is read once, as in the training of knowledge blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lks.editors.baselines.locate import prefixed, usual
from lks.edits.edit import Edit
from lks.model.backbone import Backbone
from lks.model.engine.batching import grouped
from lks.model.engine.choice import AnyEngine
from lks.model.engine.reader import TextRow, predicted
from lks.model.offsets import last_token, tokens_from

ESSENCE = "{} is a"  # what else the model knows of the subject shall not drift (ROME, eq. 4)
Effect = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ValueSettings:
    """How a value is learnt.

    Attributes:
        lr: of Adam, in units of the root mean square of the value to begin with.
        kl: weight of the drift of "{subject} is a"; decay: of the relative squared size of delta.
        clamp: delta is at most so many times as long as the value to begin with.
        enough: stop when the mean loss of the target (nats a token) is below this.
        stop: the text shall end behind the target, which the papers do not ask for.
    """

    steps: int = 25
    lr: float = 0.5
    kl: float = 0.0625
    decay: float = 1e-3
    clamp: float = 4.0
    enough: float = 0.05
    stop: bool = False


@dataclass(frozen=True)
class Lesson:
    """The texts from which one edit's delta is learnt; the first one's state gives its scale, if
    that is no attention sink.

    `labels` are, for each text, the tokens that it shall go on with; none where what follows shall
    stay as it is.
    """

    rows: list[TextRow]
    labels: list[list[int]]


def stating(
    backbone: Backbone,
    prompt: str,
    target: str,
    span: tuple[int, int] | None = None,
    *,
    stop: bool = False,
) -> tuple[TextRow, list[int]]:
    """A text that states a target, and the target's tokens; with `stop` it ends the text.

    Args:
        span: delta is added at the last token of this, in characters; else at the prompt's.
    """
    joined, boundary = backbone.join(prompt, target, chat=False)
    ids, offsets = backbone.tokenize(joined, chat=False)
    first = max(tokens_from(offsets, boundary), 1)
    scored, labels = predicted(ids, first, backbone.stop_id(chat=False) if stop else None)
    if span is None:
        return TextRow(ids, [first - 1], scored), labels
    place, prefix = last_token(offsets, *span) or 0, tokens_from(offsets, span[0])
    return TextRow(ids, [place], scored, prefix), labels


def fact(
    backbone: Backbone,
    edit: Edit,
    span: tuple[int, int],
    prefixes: Sequence[str],
    *,
    stop: bool = False,
) -> Lesson:
    """The target behind the prompt after each prefix; and "{subject} is a", which stays.

    Args:
        span: where the subject stands in the prompt, in characters.
        stop: whether the target ends the text.
    """
    pairs = zip(*prefixed(edit, span, prefixes), strict=True)
    stated = [stating(backbone, prompt, edit.target, own, stop=stop) for prompt, own in pairs]
    ids, offsets = backbone.tokenize(ESSENCE.format(edit.subject), chat=False)
    place = last_token(offsets, 0, len(edit.subject)) or 0
    kept = TextRow(ids, [place], [len(ids) - 1], final=True), list[int]()
    rows, labels = zip(*stated, kept, strict=True)
    return Lesson(list(rows), list(labels))


def learn_deltas(
    engine: AnyEngine,
    lessons: Sequence[Lesson],
    settings: ValueSettings,
    *,
    sizes: Tensor | None = None,
    effect: Effect = lambda rows, delta: delta,
) -> Tensor:
    """delta of each lesson, [n, d]: added behind the engine's layer, the target follows.

    Minimises the mean over texts x_j of -log P(target | x_j + prompt), plus the divergence of
    what follows "{subject} is a" (ROME, Meng et al. 2022, eq. 4; MEMIT, Meng et al. 2023, eq. 16).

    Args:
        sizes: length of each value to begin with, [n]; else of the state that delta is added to.
        effect: from text numbers, [m], and deltas, [m, d], to what is added to the states there.
    """
    learning = _Learning(engine, lessons, settings, sizes, effect)
    unsolved = list(range(len(lessons)))
    for _ in range(settings.steps):
        if not unsolved:
            break
        unsolved = learning.step(unsolved)
    return learning.deltas()


class _Learning:
    """Deltas in units of the root mean square of their values; n edits, m texts in all."""

    def __init__(
        self,
        engine: AnyEngine,
        lessons: Sequence[Lesson],
        settings: ValueSettings,
        sizes: Tensor | None,
        effect: Effect,
    ) -> None:
        self.engine, self.settings, self.effect = engine, settings, effect
        texts = [
            (edit, row, labels, 1 / sum(map(bool, lesson.labels)) if labels else settings.kl)
            for edit, lesson in enumerate(lessons)
            for row, labels in zip(lesson.rows, lesson.labels, strict=True)
        ]
        owners, rows, labels, weights = zip(*texts, strict=True)
        device = engine.device
        self.texts = engine.read(rows)
        self.labels = [torch.tensor(own, device=device) for own in labels]
        self.owner = torch.tensor(owners, device=device)
        self.weight = torch.tensor(weights, device=device)
        if sizes is None:
            places = torch.stack([own.states[own.places[0]] for own in self.texts]).float()
            own = places.split([len(lesson.rows) for lesson in lessons])
            sizes = torch.stack([states[usual(states)][0].norm() for states in own])
        width = self.texts[0].states.shape[-1]
        self.rms = (sizes / width**0.5)[:, None]
        self.units = [torch.zeros(width, device=device, requires_grad=True) for _ in lessons]
        self.optimizer = torch.optim.Adam(self.units, settings.lr)

    @torch.no_grad()
    def deltas(self) -> Tensor:
        found: Tensor = torch.stack(self.units) * self.rms
        return found

    def step(self, edits: Sequence[int]) -> list[int]:
        """Better deltas for these edits; those among them whose targets are not yet certain."""
        chosen = torch.isin(self.owner, torch.tensor(edits, device=self.owner.device))
        texts = chosen.nonzero()[:, 0]
        stated = torch.zeros(len(self.units), device=self.owner.device)
        self.optimizer.zero_grad()
        for batch in grouped([self.texts[i] for i in texts]):
            own = texts[batch]
            with torch.enable_grad():
                losses = self._losses(own) * self.weight[own]
                losses.sum().backward()
            targets = torch.tensor([len(self.labels[i]) > 0 for i in own], device=own.device)
            stated.index_add_(0, self.owner[own], losses.detach() * targets)
        left = [edit for edit in edits if float(stated[edit]) >= self.settings.enough]
        for edit in edits:
            unit = self.units[edit]
            assert unit.grad is not None
            # Adam leaves a unit without a gradient as it is.
            decay = 2 * self.settings.decay / len(unit) * unit.detach()
            unit.grad = unit.grad + decay if edit in left else None
        self.optimizer.step()
        with torch.no_grad():
            for edit in left:
                unit = self.units[edit]
                unit *= (self.settings.clamp * len(unit) ** 0.5 / unit.norm()).clamp(max=1)
        return left

    def _losses(self, texts: Tensor) -> Tensor:
        """Of each text the mean loss of its target, or the divergence of what follows, [m]."""
        own = [self.texts[i] for i in texts]
        batch, owner = self.engine.collate(own), self.owner[texts]
        delta = torch.stack([self.units[edit] for edit in owner]) * self.rms[owner]
        final = self.engine.final_states(batch, lambda _, r: r + self.effect(texts, delta))
        kept = [text.final for text in own if text.final is not None]
        logs = self.engine.head(torch.cat([final, *kept])).float().log_softmax(-1)
        places = logs[: len(final)].split([len(text.scored) for text in own])
        before, values = iter(logs[len(final) :].detach()), []
        for text, log in zip(texts, places, strict=True):
            labels = self.labels[text]
            if len(labels):
                values.append(-log.gather(1, labels[:, None]).mean())
            else:
                values.append((log.exp() * (log - next(before))).sum())
        return torch.stack(values)
