"""Fine-tuning on all edits at once: of one layer's down-projection, or of LoRA's matrices.

Breadth-first: a pass visits every edit once before any comes again. Targets end the text, so that
the model learns to stop. At scale this is the strongest simple baseline.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lks.editors.baselines.base import WeightModel
from lks.editors.baselines.cache import Progress
from lks.editors.baselines.locate import Spot, layer_at, projection
from lks.editors.baselines.targets import Targets
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import LayerError
from lks.model.backbone import Backbone
from lks.model.encoding import Encoding
from lks.model.engine.choice import choose_engine
from lks.model.engine.frozen import short_attention
from lks.model.engine.precision import fast_dtype
from lks.model.engine.running import last_states
from lks.model.engine.split_model import SplitModel

DEPTH = 0.93


@dataclass(frozen=True)
class TuneSettings:
    """How weights are trained.

    Attributes:
        epochs: passes over the edits, each with the prompt or a paraphrase of an edit in turn.
        chat_every: one of so many turns of an edit is in a chat (LKS: 3), where there is a
            template; 0 for none.
        clip: longer gradients of a batch are cut to this length; none for no limit.
        lr: of AdamW; falls linearly to 0.
        enough: stop once the mean loss (nats a token) of every turn's last pass is below this.
        window: batches whose texts are sorted by length among them, so that less is padding.
    """

    epochs: int = 30
    batch_size: int = 8
    lr: float = 5e-3
    enough: float = 0.02
    window: int = 1
    chat_every: int = 0
    clip: float | None = None
    seed: int = 0


LORA = {  # by the number of edits from which on
    0: TuneSettings(lr=1e-3),
    1_000: TuneSettings(lr=1e-3, clip=1.0),  # a few long gradients broke the model (LOG)
    5_000: TuneSettings(lr=1e-3, batch_size=128, epochs=15, window=8),  # fewer steps
}


class Turn(NamedTuple):
    """What is trained of an edit in one pass."""

    prompt: str
    target: str
    chat: bool


def _turns(edits: Sequence[Edit], epoch: int, chat_every: int) -> list[Turn]:
    """Wordings take turns, and so do styles: these by place too, so that a pass has both."""
    turns = []
    for place, edit in enumerate(edits):
        count, chat = epoch, False
        if chat_every:
            chats, rest = divmod(epoch + place, chat_every)
            chat = rest == chat_every - 1
            count = chats if chat else epoch + place - chats
        wordings = [edit.prompt, *edit.paraphrases]
        turns.append(Turn(wordings[count % len(wordings)], edit.target, chat))
    return turns


def _batches(turns: list[Turn], settings: TuneSettings, rng: random.Random) -> list[list[Turn]]:
    """Batches of one style each, in the order given if there is but one style and window."""
    size, wide = settings.batch_size, settings.batch_size * settings.window
    styles = [[turn for turn in turns if turn.chat == chat] for chat in (False, True)]
    windows = [window for style in styles for window in _cut(style, wide)]
    if settings.window > 1:
        windows = [sorted(own, key=lambda turn: len(turn.prompt + turn.target)) for own in windows]
    batches = [batch for window in windows for batch in _cut(window, size)]
    if settings.window > 1 or all(styles):
        rng.shuffle(batches)
    return batches


def _cut(turns: list[Turn], size: int) -> list[list[Turn]]:
    return [turns[start : start + size] for start in range(0, len(turns), size)]


class TunedModel(WeightModel):
    """Some parameters trained on the edits, from their first values whenever the edits change."""

    def __init__(
        self,
        backbone: Backbone,
        edits: Iterable[Edit],
        parameters: Sequence[nn.Parameter],
        settings: TuneSettings,
        kind: object,
    ) -> None:
        self.settings = settings
        self._kind = kind  # the base model and what of it is trained
        super().__init__(backbone, edits, parameters)

    @property
    def decided(self) -> dict[str, object]:
        return {"settings": self.settings}

    def change(self, edits: EditSet) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_()
        try:
            with torch.enable_grad():
                self._train(edits)
        finally:
            for parameter in self.parameters:
                parameter.requires_grad_(False)
                parameter.grad = None

    def _train(self, edits: EditSet) -> None:
        settings = self.settings
        chat_every = settings.chat_every if self.backbone.has_chat else 0
        optimizer = torch.optim.AdamW(self.parameters, settings.lr, weight_decay=0.0)
        progress = Progress((self._kind, settings, list(edits)), self.parameters, optimizer)
        self.earlier_seconds, losses = progress.seconds, progress.losses
        rng, order = random.Random(settings.seed), list(range(len(edits)))
        for epoch in range(settings.epochs):
            rng.shuffle(order)
            turns = _turns(edits, epoch, chat_every)
            batches = _batches([turns[i] for i in order], settings, rng)
            if epoch < len(losses):
                self.take_up(batches)
                continue
            losses.append(self._pass(batches, epoch, optimizer))
            last = losses[-max(chat_every, 1) :]
            if len(losses) >= chat_every and max(last) < settings.enough:
                break
            progress.keep()
        progress.end()

    def take_up(self, batches: Sequence[Sequence[Turn]]) -> None:
        """A pass that was done before the training was stopped: what the next ones need of it."""

    def _pass(
        self, batches: Sequence[Sequence[Turn]], epoch: int, optimizer: torch.optim.Optimizer
    ) -> float:
        """The mean loss of one pass over all edits."""
        total = 0.0
        for index, batch in enumerate(batches):
            left = 1 - (epoch + index / len(batches)) / self.settings.epochs
            optimizer.param_groups[0]["lr"] = self.settings.lr * left
            losses = self._losses(batch)
            optimizer.zero_grad()
            losses.mean().backward()
            if self.settings.clip is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
            optimizer.step()
            total += float(losses.detach().sum())
        return total / sum(map(len, batches))

    def _losses(self, batch: Sequence[Turn]) -> Tensor:
        """Of texts of one style."""
        with self._read(batch) as targets:
            final = self.final_states(targets.encoding)
            return targets.losses(self.backbone.head(final[targets.rows, targets.columns]))

    @contextmanager
    def _read(self, batch: Sequence[Turn]) -> Iterator[Targets]:
        """A block in which the model reads texts of one style, in the precision of training."""
        device, dtype = self.backbone.device, fast_dtype(self.backbone)
        reduced = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
        with short_attention(device), reduced:
            pairs = [(turn.prompt, turn.target) for turn in batch]
            yield Targets.of(self.backbone, pairs, chat=batch[0].chat)

    def final_states(self, encoding: Encoding) -> Tensor:
        """The decoder's outputs, [b, t, d], with gradients."""
        return last_states(self.backbone.decoder(**self.backbone.inputs(encoding)))


def _above(backbone: Backbone, layer: int) -> SplitModel | None:
    """What runs the layers above one from its outputs; None where these are not all they read."""
    try:
        engine = choose_engine(backbone, [layer])
    except LayerError:
        return None
    return engine if isinstance(engine, SplitModel) else None


class ProjectionModel(TunedModel):
    """One whose layers below the projection, which stay as they are, read each text once."""

    def __init__(
        self, backbone: Backbone, edits: Iterable[Edit], spot: Spot, settings: TuneSettings
    ) -> None:
        self._layer = spot.layer
        self._split = _above(backbone, spot.layer - 1) if spot.layer else None
        self._states: dict[str, Tensor] = {}
        kind = backbone.fingerprint.to_json(), "projection", spot.layer
        super().__init__(backbone, edits, [spot.parameter], settings, kind)

    @property
    def decided(self) -> dict[str, object]:
        return {**super().decided, "layer": self._layer}

    def change(self, edits: EditSet) -> None:
        try:
            super().change(edits)
        finally:
            self._states.clear()

    def final_states(self, encoding: Encoding) -> Tensor:
        if self._split is None:
            return super().final_states(encoding)
        states = pad_sequence(self._lower(encoding, self._split.layer), batch_first=True)
        return self._split.upper(states, encoding.attention_mask, encoding.position_ids)

    def take_up(self, batches: Sequence[Sequence[Turn]]) -> None:
        """Texts are read in the batches that they were first read in: in others the last bits of
        their states differ, and the training would not come out the same."""
        if self._split is None:
            return
        for batch in batches:
            with self._read(batch) as targets:
                self._lower(targets.encoding, self._split.layer)

    def _lower(self, encoding: Encoding, layer: int) -> list[Tensor]:
        """Outputs of layer l for each text, [t, d] each."""
        texts = [rendered.text for rendered in encoding.texts]
        if any(text not in self._states for text in texts):
            read = self.backbone.hidden_states(encoding, layer)
            for text, states, mask in zip(texts, read, encoding.attention_mask, strict=True):
                self._states[text] = states[: int(mask.sum())].clone()
        return [self._states[text] for text in texts]


class LoraModel(TunedModel):
    """One whose matrices stand beside the backbone's layers, and count only while it works."""

    def __init__(
        self,
        backbone: Backbone,
        edits: Iterable[Edit],
        tuned: Any,
        given: TuneSettings | None,
        kind: object,
    ) -> None:
        own = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
        self._layers = tuned.base_model
        self._layers.disable_adapter_layers()
        self._given = given
        super().__init__(backbone, edits, own, given or LORA[0], kind)

    def change(self, edits: EditSet) -> None:
        self.settings = self._given or LORA[max(count for count in LORA if count <= len(edits))]
        super().change(edits)

    @contextmanager
    def _holding(self, values: Sequence[Tensor]) -> Iterator[None]:
        with super()._holding(values):
            self._layers.enable_adapter_layers()
            try:
                yield
            finally:
                self._layers.disable_adapter_layers()


class FineTune:
    """Fine-tuning of one MLP's down-projection.

    Args:
        layer: whose; near the top if not given.
    """

    name = "ft"

    def __init__(self, layer: int | None = None, settings: TuneSettings | None = None) -> None:
        self.layer, self.settings = layer, settings or TuneSettings()

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> Iterator[TunedModel]:
        spot = projection(backbone, layer_at(backbone, self.layer, DEPTH))
        yield ProjectionModel(backbone, edits, spot, self.settings)


class LoRA:
    """Low-rank matrices beside all linear layers, by peft (Hu et al. 2021).

    Args:
        rank, alpha: r and alpha of the paper.
        settings: by the number of edits if not given.
    """

    name = "lora"
    needs = ("peft",)

    def __init__(
        self, rank: int = 8, alpha: float = 16, settings: TuneSettings | None = None
    ) -> None:
        self.rank, self.alpha, self.settings = rank, alpha, settings

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> Iterator[TunedModel]:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
        )
        kind = (
            backbone.fingerprint.to_json(),
            "lora",
            self.rank,
            self.alpha,
        )  # before its layers are others
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of GPT-2's transposed weights
            warnings.simplefilter("ignore", FutureWarning)  # of names that peft still uses
            torch.manual_seed((self.settings or LORA[0]).seed)
            tuned = get_peft_model(backbone.model, config)
        try:
            yield LoraModel(backbone, edits, tuned.eval(), self.settings, kind)
        finally:
            tuned.unload()
