"""Learning the value that makes the model state an edit's target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lks.backbone import Backbone
from lks.baselines._locate import Spot, Texts, prefixed
from lks.baselines._targets import Targets, final_states
from lks.edits import Edit

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
    essence = ESSENCE.format(edit.subject)
    prompts, spans = prefixed(edit, span, prefixes)
    targets = Targets.of(backbone, [(prompt, edit.target) for prompt in prompts], [essence])
    texts = Texts.of(targets.encoding, [*spans, (0, len(edit.subject))])
    rows, columns = texts.rows, texts.columns
    last = targets.encoding.starts[-1] + len(targets.encoding.offsets[-1]) - 1
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
                final = final_states(backbone, targets.encoding)
            scored = torch.cat([final[targets.rows, targets.columns], final[-1, last][None]])
            logits = backbone.head(scored).float()
            nll, follows = targets.losses(logits[:-1]).mean(), logits[-1].log_softmax(-1)
            size = begun[0].norm()
            optimizer.param_groups[0]["lr"] = settings.lr * float(size) / len(delta) ** 0.5
            base = follows.detach() if base is None else base
            drift = (follows.exp() * (follows - base)).sum()
            if float(nll.detach()) < settings.enough:
                break
            loss = nll + settings.kl * drift + settings.decay * delta.square().sum() / size**2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                delta *= (settings.clamp * size / delta.norm()).clamp(max=1)
    return delta.detach()
