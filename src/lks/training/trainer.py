"""Training of knowledge blocks: batches, loop, early stopping, resuming."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from lks.blocks.forms import state_size
from lks.blocks.trainable import Blocks, KnowledgeBlocks, RefinedBlocks
from lks.edits.edit import Edit
from lks.model.backbone import Backbone
from lks.model.engine.batching import Text, grouped
from lks.model.engine.choice import AnyEngine, choose_engine
from lks.model.engine.machine import texts_budget
from lks.model.engine.precision import fast_dtype
from lks.model.engine.tensor_store import TensorStore
from lks.scope.config import preset
from lks.scope.scope import Scope
from lks.training import checkpoint, losses
from lks.training.config import TrainingConfig
from lks.training.distributed import ProcessGroup
from lks.training.examples import (
    TEXT_KINDS,
    EditExamples,
    Example,
    build_examples,
    features,
)
from lks.training.presence import Reply
from lks.training.progress import Epoch, OnProgress
from lks.training.prompts import TrainingPrompts

T = TypeVar("T")
REPLIES = 2  # of a teacher, in an edit's turn for them
CHAT_EVERY = 3  # one in so many of an edit's turns is in a chat: what is learnt plain carries over


@dataclass
class Trained:
    """The result of training; `earlier_seconds` are of epochs before it was interrupted."""

    blocks: KnowledgeBlocks
    layers: tuple[int, ...]
    epochs: list[Epoch] = field(default_factory=list)
    dropped_texts: int = 0
    earlier_seconds: float = 0.0


def train(
    backbone: Backbone,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    config: TrainingConfig,
    *,
    memory: int | None = None,
    team: ProcessGroup | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    replies: Sequence[Sequence[Reply]] = (),
    on_progress: OnProgress = lambda stage, done, of: None,
) -> Trained:
    """Train blocks for `edits`, the backbone frozen.

    Args:
        prompts: training prompts of each edit, in the same order.
        memory: bytes that the process shall hold at most; texts beyond it lie in a mapped file.
        team: the processes that train together, if there are several.
        checkpoints: folder in which the state is saved after every epoch.
        resume: go on from that folder; the result is the same as without the interruption.
        replies: a teacher's to questions about each edit, if the blocks are to follow it.
    """
    layers, team = config.resolve_layers(backbone.n_layers), team or ProcessGroup()
    engine, store = training_engine(backbone, layers, config), TensorStore(texts_budget(memory))
    examples, dropped = build_examples(
        engine,
        edits,
        prompts,
        Scope(edits),
        chat=config.chat,
        kl_tokens=config.locality_places,
        alone=preset(config.scope).gate,
        replies=replies,
        store=store,
        team=team,
        on_progress=on_progress,
    )
    read, scale = _features(examples, team), usual_size(engine, examples, team)
    with backbone.in_use:  # another thread's samples would take numbers from the same source
        torch.manual_seed(config.seed)
        blocks = KnowledgeBlocks(
            read,
            kind=config.hypernetwork,
            form=config.form,
            scale=scale,
            refine=config.refine,
        ).to(backbone.device)
    loop = _Loop(engine, blocks, examples, config, store, team, on_progress)
    trained = Trained(blocks, layers, dropped_texts=sum(team.gathered([dropped])))
    if resume and checkpoints is not None:
        trained.epochs = checkpoint.load(checkpoints, loop.state())
        trained.earlier_seconds = sum(epoch.seconds for epoch in trained.epochs)

    def after(epoch: Epoch) -> None:
        if checkpoints is not None and team.is_main:
            checkpoint.save(checkpoints, loop.state(), trained.epochs)
        on_epoch(epoch)

    loop.run(trained.epochs, after)
    return trained


def refine(
    engine: AnyEngine,
    blocks: RefinedBlocks,
    examples: list[EditExamples],
    config: TrainingConfig,
    *,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> None:
    """Train the refinements of new edits beside the blocks that a pack has; nothing else moves."""
    _Loop(engine, blocks, examples, config, TensorStore(), ProcessGroup()).run([], on_epoch)


def training_engine(backbone: Backbone, layers: Sequence[int], config: TrainingConfig) -> AnyEngine:
    """The training engine for a backbone, in the precision that suits its device."""
    return choose_engine(backbone, layers, _precision(config.precision, backbone))


class _Loop:
    """The trainable parts and the steps over them."""

    def __init__(
        self,
        engine: AnyEngine,
        blocks: Blocks,
        examples: list[EditExamples],
        config: TrainingConfig,
        store: TensorStore,
        team: ProcessGroup,
        on_progress: OnProgress = lambda stage, done, of: None,
    ) -> None:
        self.engine, self.blocks, self.examples, self.config = engine, blocks, examples, config
        self.store, self.team, self.on_progress = store, team, on_progress
        self.optimizers: list[torch.optim.Optimizer] = []
        if blocks.hypernetwork is not None:
            dense = blocks.hypernetwork.parameters()
            self.optimizers.append(torch.optim.AdamW(dense, config.lr, weight_decay=0.0))
        if blocks.delta is not None:
            sparse = list(blocks.delta.parameters())
            self.optimizers.append(torch.optim.SparseAdam(sparse, config.refine_lr))
        # By kind and style (plain, chat) the loss when last read, [n, kinds, 2]; inf before, nan
        # without texts.
        self.latest = torch.full((len(examples), len(TEXT_KINDS), 2), torch.nan)
        for example in (e for own in examples for kind in TEXT_KINDS for e in getattr(own, kind)):
            self.latest[_cell(example)] = torch.inf
        tokens = [len(own.reliability[0].text.scored) for own in self._own(examples)]
        self.tokens = torch.tensor(team.in_order(tokens))  # [n], of each edit's target
        self._rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]

    def state(self) -> checkpoint.State:
        return checkpoint.State(self.blocks, self.optimizers, self.config, self.latest)

    def run(self, epochs: list[Epoch], after: Callable[[Epoch], None]) -> None:
        """Go on after `epochs` to the last one or the early stop; `after` is called with each.

        When the epochs over all edits are done, the edits not learnt go on alone: refinements
        move then, the hypernetwork does not, so that no edit that is learnt changes.
        """
        config, everything = self.config, range(len(self.examples))
        while not any(e.tail for e in epochs):
            if len(epochs) == config.epochs or _settled(epochs, config):
                break
            done = len(epochs)
            epochs.append(self.epoch(done, everything, (done, config.epochs)))
            after(epochs[-1])
        finished = sum(epoch.tail for epoch in epochs)
        while finished < config.tail_epochs and self.blocks.delta is not None:
            left = self._not_learnt()
            if not left:
                break
            if finished == 0:  # moments of the steep first epochs keep later steps small
                self.optimizers[-1].state.clear()
            of = (finished, config.tail_epochs)
            epochs.append(self.epoch(len(epochs), left, of, tail=True))
            finished += 1
            after(epochs[-1])

    def epoch(
        self, done: int, edits: Sequence[int], of: tuple[int, int], *, tail: bool = False
    ) -> Epoch:
        """One pass over `edits`, or a few if all edits are few; its number and the seed decide.

        Args:
            done: epochs before this one; of: those of its kind, and how many of it there may be.
        """
        started, config, (at, most) = time.monotonic(), self.config, of
        optimizers = self.optimizers[-1:] if tail else self.optimizers
        rng = random.Random(f"{config.seed} {done}")
        rounds = max(1, -(-config.least_steps * config.batch_size // len(self.examples)))
        order: list[tuple[int, int]] = []  # (edit, which of its turns)
        for one in range(rounds):
            shuffled = list(edits)
            rng.shuffle(shuffled)
            order += [(edit, done * rounds + one) for edit in shuffled]
        steps = range(0, len(order), config.batch_size)
        for step, start in enumerate(steps):
            left = 1 - (at + step / len(steps)) / most
            for optimizer, rate in zip(self.optimizers, self._rates, strict=True):
                optimizer.param_groups[0]["lr"] = rate * left
            chosen = [self._choose(*turn) for turn in order[start : start + config.batch_size]]
            self._step([example for row in chosen for example in row], optimizers)
            stage = "finishing" if tail else "training"
            self.on_progress(stage, at * len(steps) + step + 1, most * len(steps))
        return Epoch(
            done + 1,
            done - at + most,
            *self._means(),
            tail=tail,
            seconds=time.monotonic() - started,
        )

    def _means(self) -> tuple[float, float, float, float]:
        """Mean loss of each kind over the texts that were read."""
        latest = self._latest_of_all()
        read = latest.isfinite()
        sums, counts = latest.where(read, 0.0).sum((0, 2)), read.sum((0, 2)).clamp(min=1)
        reliability, generality, locality, distilled = (sums / counts).tolist()
        return reliability, generality, locality, distilled

    def _not_learnt(self) -> list[int]:
        """The edits whose target had too small a probability in a text when it was last read."""
        stated = self._latest_of_all()[:, : TEXT_KINDS.index("locality")]
        nll = stated.nan_to_num(nan=0.0).amax((1, 2)) * self.tokens
        return (nll >= self.config.learnt_loss).nonzero().flatten().tolist()

    def _latest_of_all(self) -> Tensor:
        """`latest` with the rows of all processes, [n, kinds, 2]."""
        return torch.stack(self.team.in_order(self._own(self.latest)))

    def _own(self, values: Iterable[T]) -> list[T]:
        """Of one value an edit those of this process's edits."""
        return [value for i, value in enumerate(values) if self.team.owns(i)]

    def _choose(self, edit: int, turn: int) -> list[Example]:
        """The texts of one edit for one step; wordings and styles take turns, and kinds may."""
        own, count = self.examples[edit], self.config.locality_a_step
        turn += edit
        kinds = [(own.reliability, 1), (own.generality, 1)]
        kinds += [(own.locality, count), (own.distilled, REPLIES)]
        kinds = [(examples, count) for examples, count in kinds if examples]
        if self.config.alternate and kinds:  # an edit of another process has no texts here
            kinds, turn = [kinds[turn % len(kinds)]], turn // len(kinds)
        chosen = []
        for examples, count in kinds:
            styled = [e for e in examples if e.chat == (turn % CHAT_EVERY == CHAT_EVERY - 1)]
            variants = styled or examples
            n = len(variants)
            chosen += [variants[(turn * count + k) % n] for k in range(min(count, n))]
        return chosen

    def _step(self, chosen: list[Example], optimizers: list[torch.optim.Optimizer]) -> None:
        config = self.config
        of_kinds = (config.w_rel, config.w_gen, config.w_loc or 0.0, 1.0)
        weights = dict(zip(TEXT_KINDS, of_kinds, strict=True))
        own = [sum(example.kind == kind for example in chosen) for kind in TEXT_KINDS]
        count = dict(zip(TEXT_KINDS, self.team.summed(torch.tensor(own)).tolist(), strict=True))
        batches = [[chosen[i] for i in batch] for batch in grouped([e.text for e in chosen])]
        examples = [example for batch in batches for example in batch]
        if examples:
            with self.engine.backbone.in_use:  # one turn for all passes of the step
                # One pass through the head for all: its weights are most of what a step reads.
                final = torch.cat([self._final_states(batch) for batch in batches])
                values = self._losses(examples, final)
                weight = [weights[example.kind] / count[example.kind] for example in examples]
                weighted = values * torch.tensor(weight, device=values.device)
                torch.autograd.backward(weighted.sum())
            for example, value in zip(examples, values.tolist(), strict=True):
                self.latest[_cell(example)] = value
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                sparse = isinstance(optimizer, torch.optim.SparseAdam)
                self.team.sum_gradients(group["params"], sparse=sparse)
            optimizer.step()
        self.blocks.zero_grad()
        self.store.release()

    def _final_states(self, examples: list[Example]) -> Tensor:
        """The edited decoder's outputs at the scored places of a micro-batch, [K, d]."""
        batch = self.engine.collate([example.text for example in examples])
        mentions = torch.tensor([len(e.text.places) for e in examples])
        shift = (mentions.cumsum(0) - mentions).tolist()
        owner = torch.cat([e.owner + s for e, s in zip(examples, shift, strict=True)])
        members = torch.cat([e.members for e in examples])
        return self.engine.final_states(batch, self.blocks(members, owner, len(batch.r)))

    def _losses(self, examples: list[Example], final: Tensor) -> Tensor:
        """The loss of each text, [n]: mean NLL of its target, mean KL from its teacher, or KL from
        the unedited model summed over its places."""
        n, device = len(examples), final.device
        scored = torch.tensor([len(e.text.scored) for e in examples], device=device)
        text = torch.arange(n, device=device).repeat_interleave(scored)
        values = torch.zeros(n, device=device)
        for loss, given, mean in (
            (self._nll, [e.labels for e in examples], True),
            (self._top_kl, [e.likeliest for e in examples], True),
            (self._kl, [e.text.final for e in examples], False),
        ):
            if there := [own.to(device) for own in given if own is not None]:
                own = torch.tensor([one is not None for one in given], device=device)[text]
                found = losses.by_rows(loss, final[own], torch.cat(there))
                values = values + losses.per_text(found, text[own], n, mean=mean)
        return values

    def _nll(self, states: Tensor, labels: Tensor) -> Tensor:
        return losses.nll(self.engine.head(states), labels)

    def _top_kl(self, states: Tensor, likeliest: Tensor) -> Tensor:
        return losses.top_kl(self.engine.head(states), likeliest)

    def _kl(self, states: Tensor, unedited: Tensor) -> Tensor:
        return losses.kl(self.engine.head(unedited).detach(), self.engine.head(states))


def _cell(example: Example) -> tuple[int, int, int]:
    """Where `latest` keeps the loss of a text."""
    return example.edit, TEXT_KINDS.index(example.kind), int(example.chat)


def _features(examples: Sequence[EditExamples], team: ProcessGroup) -> Tensor:
    """Of all processes' edits, [n, d]."""
    mine = [own for i, own in enumerate(examples) if team.owns(i)]
    return torch.stack(team.in_order(list(features(mine).cpu()) if mine else []))


def usual_size(
    engine: AnyEngine, examples: Sequence[EditExamples], team: ProcessGroup
) -> tuple[float, ...]:
    """The size of R in the edits' own prompts, at each edited layer."""
    mine = [own for i, own in enumerate(examples) if team.owns(i)]
    texts = [[example.text for example in own.reliability] for own in mine]
    lowest = [torch.cat([s.states[s.places] for s in own]).cpu() for own in texts]
    read = [lowest, *_higher(engine, texts)]
    return tuple(state_size(torch.cat(team.in_order(r))) for r in read)


@torch.no_grad()
def _higher(engine: AnyEngine, texts: Sequence[Sequence[Text]]) -> list[list[Tensor]]:
    """R at each edited layer but the lowest, which texts have, in the texts of each edit; found in
    a pass that leaves all as it is."""
    found: list[list[Tensor]] = [[] for _ in engine.layers]
    if len(found) == 1 or not texts:
        return [[] for _ in found[1:]]

    def keep(layer: int, r: Tensor) -> Tensor:
        found[layer].append(r.cpu())
        return r

    flat = [text for own in texts for text in own]
    batches = grouped(flat)
    for batch in batches:
        engine.final_states(engine.collate([flat[i] for i in batch]), keep)
    order = [i for batch in batches for i in batch]
    owners = [edit for edit, own in enumerate(texts) for _ in own]
    higher = []
    for parts in found[1:]:
        split = torch.cat(parts).split([len(flat[i].places) for i in order])
        mine: list[list[Tensor]] = [[] for _ in texts]
        for i, r in zip(order, split, strict=True):
            mine[owners[i]].append(r)
        higher.append([torch.cat(own) for own in mine])
    return higher


def _settled(epochs: Sequence[Epoch], config: TrainingConfig) -> bool:
    """Early stopping: the last `patience` epochs were all good enough."""
    last = epochs[-config.patience :] if config.patience else []
    return len(last) == config.patience > 0 and all(
        max(e.reliability, e.generality, e.distilled) < config.target_loss for e in last
    )


def _precision(name: str, backbone: Backbone) -> torch.dtype:
    named = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    return named.get(name) or fast_dtype(backbone)
