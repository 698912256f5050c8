"""The Latent Knowledge Scalpel: the one place where its parts are wired together.

pack = train_pack(backbone, edits)
with Scalpel(pack).apply(backbone) as model:
    model.generate(["Where is the Eiffel Tower?"], chat=True)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lks import decoding
from lks.backbone import Backbone, Encoding
from lks.decoding import Score
from lks.edits import Edit, EditSet
from lks.errors import EditFileError
from lks.hypernetwork import HyperNetwork, apply_form
from lks.pack import Pack
from lks.replacer import Plan, replacing
from lks.scope import Mention, Scope
from lks.training.config import TrainingConfig
from lks.training.examples import KINDS
from lks.training.prompts import PromptReport, training_prompts
from lks.training.trainer import Epoch, features, train


def train_pack(
    backbone: Backbone,
    edits: EditSet,
    config: TrainingConfig | None = None,
    *,
    pool: Iterable[Edit] = (),
    checkpoints: Path | None = None,
    resume: bool = False,
    on_prompts: Callable[[PromptReport], None] = lambda report: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Pack:
    """Train a pack for `edits`.

    Args:
        pool: further edits whose templates may be lent as training prompts.
        checkpoints, resume: see `training.trainer.train`.

    Raises:
        EditFileError: edits that would never fire, because no mention of their subject stands in
            their own prompt.
        LayerError: the layer is out of range.
    """
    config = config or TrainingConfig()
    backbone.layer(config.resolve_layer(backbone.n_layers))
    check_edits_fire(edits)
    started = time.monotonic()
    prompts, report = training_prompts(edits, pool, seed=config.seed)
    on_prompts(report)
    trained = train(
        backbone, edits, prompts, config, checkpoints=checkpoints, resume=resume, on_epoch=on_epoch
    )
    with torch.no_grad():
        blocks = trained.blocks.blocks(torch.arange(len(edits), device=backbone.device)).cpu()
    last = trained.epochs[-1]
    return Pack(
        edits=edits,
        blocks=blocks,
        hypernetwork=dict(trained.blocks.hypernetwork.state_dict()),
        base_model=backbone.fingerprint,
        layer=trained.layer,
        form=config.form,
        kind=config.hypernetwork,
        scale=trained.blocks.scale,
        training={
            "config": config.to_json(),
            "epochs": len(trained.epochs),
            "seconds": round(time.monotonic() - started, 1),
            "losses": {kind: getattr(last, kind) for kind in KINDS},
            "prompts": asdict(report),
            "dropped_texts": trained.dropped_texts,
        },
    )


def check_edits_fire(edits: Sequence[Edit]) -> None:
    """Raise EditFileError for edits that do not fire on their own prompt, all at once."""
    scope = Scope(edits)
    silent = [
        f'edit "{edit.id}": subject "{edit.subject}" is not a whole word of the prompt, '
        "or lies inside another edit's longer subject"
        for edit in edits
        if not any(edit.id in mention.edit_ids for mention in scope.fired(edit.prompt))
    ]
    if silent:
        raise EditFileError(f"{len(silent)} edits would never fire; mend their prompts", silent)


class Scalpel:
    """The LKS editor.

    Args:
        pack: trained edits; without one, `apply` trains the edits that it is given.
        config: how it trains them.
    """

    name = "lks"

    def __init__(self, pack: Pack | None = None, config: TrainingConfig | None = None) -> None:
        self.pack, self.config = pack, config

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit] = ()) -> Iterator[ScalpelModel]:
        """The backbone with a pack in force; `edits` are trained if the editor has no pack."""
        pack = self.pack or train_pack(backbone, EditSet(edits), self.config)
        pack.check(backbone.fingerprint)
        yield ScalpelModel(backbone, pack)  # nothing to undo: hooks live inside single calls


class ScalpelModel:
    """A backbone that reads prompts with knowledge blocks put in. The pack is not changed."""

    def __init__(self, backbone: Backbone, pack: Pack) -> None:
        self.backbone, self.pack = backbone, pack
        self.layer = backbone.layer(pack.layer)
        self._edits = {edit.id: edit for edit in pack.edits}
        self._blocks = dict(zip(self._edits, pack.blocks.to(backbone.device), strict=True))
        self._scope = Scope(pack.edits)

    def score(self, pairs: Sequence[tuple[str, str]], **options: Any) -> list[Score]:
        return decoding.score(self.backbone, pairs, self._replacing, **options)

    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]:
        return decoding.generate(self.backbone, prompts, self._replacing, **options)

    def triggered(self, prompts: Sequence[str]) -> list[bool]:
        return [bool(self._scope.fired(prompt)) for prompt in prompts]

    def mentions(self, text: str) -> list[Mention]:
        """The mentions of edited entities in a text, and whether they fire."""
        return self._scope.mentions(text)

    def add(self, edits: Iterable[Edit]) -> None:
        """Bring edits into force with the blocks that the trained hypernetwork gives them.

        No training: one reading of each feature. How well that does on edits that the
        hypernetwork has never seen depends on how many it was trained on.
        """
        new = EditSet(edits)
        check_edits_fire(new)
        doubles = [f'duplicate id "{edit.id}"' for edit in new if edit.id in self._edits]
        if doubles:
            raise EditFileError("; ".join(doubles), doubles)
        hypernetwork = HyperNetwork(self.backbone.width, self.pack.kind)
        hypernetwork.load_state_dict(self.pack.hypernetwork)
        read = features(self.backbone, new, self.pack.layer)
        with torch.no_grad():
            blocks = hypernetwork(read.cpu())
        if self.pack.form == "residual":
            blocks = blocks * self.pack.scale
        for edit, block in zip(new, blocks.to(self.backbone.device), strict=True):
            self._edits[edit.id], self._blocks[edit.id] = edit, block
        self._scope = Scope(self._edits.values())

    def remove(self, edit_ids: Iterable[str]) -> None:
        """Take edits out; KeyError for an unknown id, and nothing is removed then."""
        gone = list(edit_ids)
        for edit_id in gone:
            self._edits[edit_id]  # raises before anything is changed
        for edit_id in gone:
            self._edits.pop(edit_id, None)
            self._blocks.pop(edit_id, None)
        self._scope = Scope(self._edits.values())

    def _replacing(self, encoding: Encoding) -> AbstractContextManager[None]:
        """The replacer for one batch: its plan has one place for each mention that fires."""
        rows, columns, members = [], [], []
        for row, (read, offsets, start) in enumerate(
            zip(encoding.texts, encoding.offsets, encoding.starts, strict=True)
        ):
            for token, mention in self._scope.locate(read.text, read.start, read.end, offsets):
                rows.append(row)
                columns.append(start + token)
                members.append(mention.edit_ids)
        device = self.backbone.device
        stacked = [torch.stack([self._blocks[e] for e in ids]) for ids in members]

        def blocks(r: Tensor, places: Tensor) -> Tensor:
            own = [stacked[place] for place in places.tolist()]
            counts = torch.tensor([len(part) for part in own], device=device)
            owner = torch.arange(len(own), device=device).repeat_interleave(counts)
            return apply_form(
                self.pack.form, r.float(), torch.cat(own), owner, self.pack.scale
            )

        places = torch.tensor(rows, device=device), torch.tensor(columns, device=device)
        return replacing(self.layer, Plan(len(encoding.texts), *places, blocks))
