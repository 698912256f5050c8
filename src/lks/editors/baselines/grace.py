"""GRACE: a codebook of keys and values beside one layer (Hartvigsen et al. 2023).

The key of an edit is what the layer reads at the prompt's last token. A prompt whose own key lies
within the deferral radius of a stored one gets the stored value as the layer's output there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from lks.editors.baselines.base import EditListModel, check_decoder
from lks.editors.baselines.locate import layer_at, read, read_at, residual
from lks.editors.baselines.values import Lesson, ValueSettings, learn_deltas, stating
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.encoding import Encoding
from lks.model.engine import transformers
from lks.model.engine.choice import choose_engine
from lks.model.engine.protocol import Generation, Score, ScoreOptions
from lks.model.offsets import last_token
from lks.model.untyped import Setting
from lks.scope.types import Finding

DEPTH = 0.83


@dataclass(frozen=True)
class GraceSettings:
    """How the codebook is made.

    Attributes:
        radius: the first deferral radius of a key, in units of the key's length.
        steps, lr: of Adam on each value, `lr` in units of the output's root mean square.
        enough: stop when the target's mean loss (nats a token) is below this.
    """

    radius: float = 0.5
    steps: int = 50
    lr: float = 0.3
    enough: float = 0.05


@dataclass
class Entry:
    """One of the codebook: key and value are [d]."""

    key: Tensor
    value: Tensor
    target: str
    radius: float


class Keys(NamedTuple):
    """Where prompts' keys are: in a chat before the template's last tokens."""

    rows: Tensor
    columns: Tensor
    findings: Sequence[Sequence[Finding]] = ()  # it has no scope
    targets: Sequence[Sequence[str]] = ()


class GraceModel(EditListModel):
    """A backbone with a codebook, made anew from all edits in order when they change."""

    def __init__(
        self, backbone: Backbone, edits: Iterable[Edit], layer: int, settings: GraceSettings
    ) -> None:
        check_decoder(backbone)
        self._layer, self._settings = layer, settings
        self._entries: list[Entry] = []
        super().__init__(backbone, edits)

    @property
    def decided(self) -> dict[str, object]:
        return {"layer": self._layer}

    def put_in_force(self, edits: EditSet) -> None:
        found = self.remembered(edits, self._learn)
        self._entries = []
        for edit, (key, value) in zip(edits, found, strict=True):
            radius = self._settings.radius * float(key.norm())
            put(self._entries, Entry(key, value, edit.target, radius))

    def score(
        self, pairs: Sequence[tuple[Prompt, str]], **options: Unpack[ScoreOptions]
    ) -> list[Score]:
        return transformers.score(self.backbone, pairs, self._deferring, **options)

    def respond(self, prompts: Sequence[Prompt], **options: Setting) -> list[Generation]:
        return transformers.generate(self.backbone, prompts, self._deferring, **options)

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]:
        """Whether a prompt's key lies within a radius; a string is plain without `chat`."""
        spot, found = residual(self.backbone, self._layer), []
        for prompt in prompts:
            style = chat or not isinstance(prompt, str)
            encoding = self.backbone.encode([self.backbone.render(prompt, chat=style)], chat=style)
            (inputs,), _ = read(self.backbone, [spot], encoding)
            key = inputs[0, _prompt_end(encoding, 0)].float()
            found.append(self._nearest(key) is not None)
        return found

    def stored_bytes(self) -> int:
        return sum(entry.key.nbytes + entry.value.nbytes for entry in self._entries)

    def _nearest(self, key: Tensor) -> Entry | None:
        """The nearest entry, if the key lies within its radius."""
        if not self._entries:
            return None
        distances = (torch.stack([entry.key for entry in self._entries]) - key).norm(dim=-1)
        nearest = self._entries[int(distances.argmin())]
        return nearest if float(distances.min()) <= nearest.radius else None

    @contextmanager
    def _deferring(self, encoding: Encoding) -> Iterator[Keys | None]:
        if not self._entries:
            yield None
            return
        columns = [_prompt_end(encoding, row) for row in range(len(encoding.texts))]
        begun = False

        def looked_up(states: Tensor, out: Tensor) -> Tensor:
            nonlocal begun
            missing = encoding.input_ids.shape[1] - states.shape[1]
            if begun and (missing > 0 or states.shape[1] == 1):  # a later token, behind a cache
                return out
            begun, past = True, max(missing, 0)  # read before: what all texts begin with
            repeats = len(states) // len(columns)
            for row, column in enumerate(c - past for c in columns for _ in range(repeats)):
                entry = self._nearest(states[row, column].float()) if column >= 0 else None
                if entry is not None:
                    out = out.clone()
                    out[row, column] = entry.value.to(out.dtype)
            return out

        with residual(self.backbone, self._layer).changed(looked_up):
            yield Keys(torch.arange(len(columns)), torch.tensor(columns))

    def _learn(self, edits: Sequence[Edit]) -> list[tuple[Tensor, Tensor]]:
        """Key and value of each edit, [d] each: the value minimises the target's loss."""
        backbone, settings = self.backbone, self._settings
        spot = residual(backbone, self._layer)
        prompts = [edit.prompt for edit in edits]
        ends = [(len(prompt) - 1, len(prompt)) for prompt in prompts]
        (keys,), (begun,) = read_at(backbone, [spot], prompts, ends)
        stated = [stating(backbone, edit.prompt, edit.target, stop=True) for edit in edits]
        values = ValueSettings(
            settings.steps, settings.lr, kl=0, decay=0, clamp=math.inf, enough=settings.enough
        )
        deltas = learn_deltas(
            choose_engine(backbone, [self._layer]),
            [Lesson([row], [labels]) for row, labels in stated],
            values,
        )
        return list(zip(keys, begun + deltas, strict=True))


class Grace:
    """General retrieval adaptors for continual editing.

    Args:
        layer: beside which the codebook stands; 83 % of the way up if not given.
    """

    name = "grace"

    def __init__(self, layer: int | None = None, settings: GraceSettings | None = None) -> None:
        self.layer, self.settings = layer, settings or GraceSettings()

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> Iterator[GraceModel]:
        yield GraceModel(backbone, edits, layer_at(backbone, self.layer, DEPTH), self.settings)


def put(entries: list[Entry], new: Entry) -> None:
    """Add an entry; what happens depends on the nearest one (GRACE, algorithm 1).

    If their radii overlap and they have one target, that one's radius grows to take the new key
    in; if they have two, both radii shrink to half the distance.
    """
    if entries:
        distances = (torch.stack([entry.key for entry in entries]) - new.key).norm(dim=-1)
        nearest, distance = entries[int(distances.argmin())], float(distances.min())
        if distance <= nearest.radius + new.radius:
            if nearest.target == new.target:
                nearest.radius = max(nearest.radius, distance)
                return
            nearest.radius, new.radius = (min(e.radius, distance / 2) for e in (nearest, new))
    entries.append(new)


def _prompt_end(encoding: Encoding, row: int) -> int:
    """Column of the last token that somebody wrote, a target behind it not counted."""
    pieces = encoding.texts[row].pieces
    end = pieces[-1].end if pieces else len(encoding.texts[row].text)
    return encoding.starts[row] + (last_token(encoding.offsets[row], end - 1, end) or 0)
