"""Learning the value that makes the model state an edit's target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lks.backbone import Backbone
from lks.baselines._locate import Spot, Texts, encode, final_states
from lks.edits import Edit
from lks.positions import tokens_from

ESSENCE = "{} is a"  # what else the model knows of the subject shall not drift (ROME, eq. 4)


@dataclass(frozen=True)
class ValueSettings:
    """How a value is learnt.

    Attributes:
        lr: of Adam, in units of the root mean square of the value to begin with.
        kl: weight of the drift of "{subject} is a"; decay: of the relative squared size of delta.
        clamp: delta is at most so many times as long as the value to begin with.
        enough: stop when the mean loss of the target (nats a token) is below this.
    """

    steps: int = 25
    lr: float = 0.5
    kl: float = 0.0625
    decay: float = 1e-3
    clamp: float = 4.0
    enough: float = 0.05


def learn_delta(
    backbone: Backbone,
    spot: Spot,
    edit: Edit,
    span: tuple[int, int],
    prefixes: Sequence[str],
    settings: ValueSettings,
) -> Tensor:
    """delta, [d]: added to the module's output at the subject's last token, the target follows.

    Minimises the mean over prefixes x_j of -log P(target | x_j + prompt), plus the divergence of
    what follows "{subject} is a" (ROME, Meng et al. 2022, eq. 4; MEMIT, Meng et al. 2023, eq. 16).

    Args:
        span: where the subject stands in the prompt, in characters.
    """
    problem = _Problem.of(backbone, edit, span, prefixes)
    rows, columns = problem.texts.rows, problem.texts.columns
    delta = torch.zeros(backbone.width, device=backbone.device)
    begun: list[Tensor] = []

    def added(states: Tensor, out: Tensor) -> Tensor:
        if not begun:
            begun.append(out[0, columns[0]].detach().float())
        return out.index_put((rows, columns), out[rows, columns] + delta.to(out.dtype))

    with torch.enable_grad():
        delta.requires_grad_()
        base: Tensor | None = None
        optimizer = torch.optim.Adam([delta], settings.lr)
        for _ in range(settings.steps):
            with spot.changed(added):
                final = final_states(backbone, problem.texts.encoding)
            nll, essence = problem.scores(backbone, final)
            size = begun[0].norm()
            optimizer.param_groups[0]["lr"] = settings.lr * float(size) / len(delta) ** 0.5
            base = essence.detach() if base is None else base
            drift = (essence.exp() * (essence - base)).sum()
            if float(nll.detach()) < settings.enough:
                break
            loss = nll + settings.kl * drift + settings.decay * delta.square().sum() / size**2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                delta *= (settings.clamp * size / delta.norm()).clamp(max=1)
    return delta.detach()


@dataclass(frozen=True)
class _Problem:
    """Texts that end in the target, and then "{subject} is a"; where and what they predict."""

    texts: Texts
    rows: Tensor  # [K] of the targets' tokens
    columns: Tensor  # [K] before them
    labels: Tensor  # [K]
    last: int  # column of the last token of the last text

    @classmethod
    def of(
        cls, backbone: Backbone, edit: Edit, span: tuple[int, int], prefixes: Sequence[str]
    ) -> _Problem:
        joined = [backbone.join(x + edit.prompt, edit.target, chat=False) for x in prefixes]
        spans = [(span[0] + len(x), span[1] + len(x)) for x in prefixes]
        essence = ESSENCE.format(edit.subject)
        texts = encode(
            backbone, [*(text.text for text, _ in joined), essence],
            [*spans, (0, len(edit.subject))],
        )  # fmt: skip
        encoding = texts.encoding
        rows, columns = [], []
        for row, (_, boundary) in enumerate(joined):
            offsets = encoding.offsets[row]
            places = range(tokens_from(offsets, boundary), len(offsets))
            rows += [row] * len(places)
            columns += [encoding.starts[row] + place - 1 for place in places]
        where = torch.tensor([rows, columns], device=backbone.device)
        last = encoding.starts[-1] + len(encoding.offsets[-1]) - 1
        labels = encoding.input_ids[where[0], where[1] + 1]
        return cls(texts, where[0], where[1], labels, last)

    def scores(self, backbone: Backbone, final: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss of the targets' tokens, each text counting alike, and log p of the essence."""
        last = final[-1, self.last][None]
        logits = backbone.head(torch.cat([final[self.rows, self.columns], last])).float()
        losses = F.cross_entropy(logits[:-1], self.labels, reduction="none")
        counts = torch.bincount(self.rows)
        means = losses.new_zeros(len(counts)).index_add(0, self.rows, losses) / counts
        return means.mean(), logits[-1].log_softmax(-1)
