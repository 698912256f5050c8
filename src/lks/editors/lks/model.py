"""The Latent Knowledge Scalpel: the one place where its parts are wired together.

pack = train_pack(backbone, edits)
with Scalpel(pack).apply(backbone) as model:
    model.generate(["Where is the Eiffel Tower?"], chat=True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lks.blocks.forms import apply_form
from lks.blocks.hypernetwork import HyperNetwork
from lks.blocks.placement import locate
from lks.blocks.trainable import RefinedBlocks
from lks.editors.lks import rescan as rescanning
from lks.edits import profiles
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet, warn_of_pairs
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.chat import BETWEEN, ROLES, Prompt, Rendered, messages
from lks.model.embedder import CachedEmbedder, Embedder
from lks.model.encoding import Encoding
from lks.model.engine import transformers
from lks.model.engine.hook import Plan, replacing
from lks.model.engine.protocol import Score
from lks.model.engine.split_model import SplitModel
from lks.packs.pack import Pack
from lks.scope.gate.metric import Exemplars, GateState
from lks.scope.gate.prototypes import Embed, common_wordings
from lks.scope.gate.relation import RelationGate
from lks.scope.inspect.conflicts import CONTRADICTING, NEARER_DECIDES, Contradiction, contradictions
from lks.scope.scope import Scope
from lks.scope.types import Finding
from lks.training.config import TrainingConfig
from lks.training.examples import EditExamples, build_examples, features
from lks.training.gate_metric import learn
from lks.training.prompts import TrainingPrompts, training_prompts
from lks.training.train_pack import GATE_WORDINGS, check_edits_fire
from lks.training.trainer import Epoch, split_model
from lks.training.trainer import refine as train_refinements

ADD_EPOCHS, PROFILE_EPOCHS = 6, 40  # a profile's target is several sentences long
# A new block starts from what the hypernetwork makes, and no other depends on it: few, large steps.
# Two epochs of three turns bring every kind of text once in a chat; then training may stop.
ADDING = {"refine_lr": 1.0, "least_steps": 3, "batch_size": 0, "wordings": 2, "target_loss": 0.1}
# Long targets: .90 of the facts stated, else .71.
PROFILING = {"refine_lr": 0.3, "least_steps": 4, "finishing": 0}


class ScalpelModel:
    """A backbone that reads prompts with knowledge blocks put in. The pack is not changed.

    Args:
        roles: whose messages in a chat are looked through for mentions.
    """

    def __init__(self, backbone: Backbone, pack: Pack, *, roles: Sequence[str] = ROLES) -> None:
        self.backbone, self.pack, self.roles = backbone, pack, roles
        self.layer = backbone.layer(pack.layer)
        self._edits = {edit.id: edit for edit in pack.edits}
        self._blocks = dict(zip(self._edits, pack.blocks.to(backbone.device), strict=True))
        self._gate = pack.gate
        self._embed = (
            Embedder(pack.gate.embedder, expected=pack.gate.fingerprint) if pack.gate else None
        )
        self._scope = self._gated(Scope(pack.edits))

    def score(self, pairs: Sequence[tuple[Prompt, str]], **options: Any) -> list[Score]:
        """Teacher-forced scores of (prompt, target) pairs, one each; see `editor.EditedModel`."""
        return transformers.score(self.backbone, pairs, self._replacing, **options)

    def generate(
        self, prompts: Sequence[Prompt], *, rescan: bool = False, **options: Any
    ) -> list[str]:
        """What the model writes after each prompt.

        Args:
            rescan: look through the model's own text too, as it grows; an edit that fires there
                is in force from then on.
        """
        if rescan:
            return rescanning.generate(
                self.backbone, prompts, self._replacing, self._scan, **options
            )
        return transformers.generate(self.backbone, prompts, self._replacing, **options)

    def _scan(self, rendered: Rendered) -> rescanning.Scan:
        """What fires in a text and where, and where edited entities are named."""
        text, place = rendered.scanned(self.roles)
        found = [
            (f.mention, place(f.mention.start, f.mention.end))
            for f in self._scope.examine([text])[0]
        ]
        fired = tuple((mention.edit_ids, span) for mention, span in found if mention.fired)
        return rescanning.Scan(fired, [end for _, (_, end) in found])

    def triggered(self, prompts: Sequence[Prompt]) -> list[bool]:
        """Whether any edit fires, for each prompt."""
        return [bool(fired) for fired in self._scope.fired([self._text(p) for p in prompts])]

    def blocks(self, edits: Iterable[Edit]) -> Tensor:
        """The knowledge blocks of edits in force, [n, d]."""
        return torch.stack([self._blocks[edit.id] for edit in edits])

    def examine(self, prompt: Prompt) -> list[Finding]:
        """The mentions of edited entities in a prompt, whether they fire, and why."""
        return self._scope.examine([self._text(prompt)])[0]

    def contradicted(self, edits: Iterable[Edit]) -> set[str]:
        """Ids of those edits that another one in force contradicts.

        The prompt of one asks for both, or it is the same and this edit was left out for the other.
        """
        edits = list(edits)
        inside = [edit for edit in edits if edit.id in self._edits]
        pairs = self._contradictions(inside)
        found = {e.id for pair in pairs for e in (pair.asked, pair.too)} & {e.id for e in inside}
        targets = {edit.question: edit.target for edit in self._edits.values()}
        return found | {e.id for e in edits if targets.get(e.question, e.target) != e.target}

    def _contradictions(self, edits: Sequence[Edit]) -> list[Contradiction]:
        return contradictions(edits, self._edits.values(), self._scope)

    def _text(self, prompt: Prompt) -> str:
        """What is looked through of a prompt."""
        if isinstance(prompt, str):
            return prompt
        return BETWEEN.join(m["content"] for m in messages(prompt) if m["role"] in self.roles)

    def add(
        self,
        edits: Iterable[Edit],
        *,
        refine: bool = True,
        pool: Iterable[Edit] = (),
        epochs: int | None = None,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> None:
        """Bring edits into force beside those that are; no other block changes.

        A new block starts as what the trained hypernetwork makes of the edit's feature.

        Args:
            refine: train each new block from there, with the pack's own settings; without it an
                edit costs one reading of its text, and holds as far as the hypernetwork has learnt
                to edit facts that it never saw.
            pool: further edits whose templates may be lent as training prompts.
            epochs: at most so many; `ADD_EPOCHS` if not given.

        Raises:
            EditFileError: an edit would never fire, or an id is twice.
        """
        new = EditSet(edits)
        if not len(new):
            return
        known = EditSet([*self._edits.values(), *new])[: -len(new)]
        names = Scope([*known, *new])
        check_edits_fire(new, names)
        settings = PROFILING if any(edit.profile_of for edit in new) else {}
        config = self._adding(epochs or ADD_EPOCHS, **settings).for_edits(len(new))
        embed = CachedEmbedder(self._embed, common_wordings()) if self._embed else None
        lent, _ = training_prompts(
            new, [*known, *pool], embed=embed, most=GATE_WORDINGS, seed=config.seed
        )
        gate = self._gate_with(known, new, lent, embed)
        prompts = [TrainingPrompts()] * len(new)
        if refine:
            prompts = [p.at_most(config.wordings, e) for e, p in zip(new, lent, strict=True)]
        examples, _ = build_examples(
            self._split, new, prompts, names, chat=config.chat and refine,
            kl_tokens=config.locality_places, alone=gate is not None, known=known,
        )  # fmt: skip
        blocks = self._amortised(examples)
        if refine:
            given = torch.stack([*(self._blocks[edit.id] for edit in known), *blocks])
            refined = RefinedBlocks(
                given, len(known), form=self.pack.form, scale=self.pack.scale
            ).to(self.backbone.device)
            train_refinements(self._split, refined, examples, config, on_epoch=on_epoch)
            with torch.no_grad():
                blocks = refined.blocks(torch.arange(len(known), len(given), device=given.device))
        made = dict(zip((edit.id for edit in new), blocks, strict=True))
        self._blocks = {e.id: self._blocks[e.id] for e in known} | made
        self._edits = {edit.id: edit for edit in (*known, *new)}
        self._gate = gate
        self._scope = self._gated(names)
        warn_of_pairs(CONTRADICTING, self._contradictions(new), NEARER_DECIDES)

    def add_profiles(
        self,
        subjects: Iterable[str] | None = None,
        *,
        epochs: int | None = None,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> EditSet:
        """Train profiles that state all facts of an entity when a request is open-ended.

        Args:
            subjects: of these entities; else of all that have no profile in force.

        Returns:
            The new profiles, which may be none.

        Raises:
            InputError: no edit is about one of the subjects, or there is no relation gate.
        """
        if self._gate is None:
            raise InputError(
                "profiles need a relation gate: without one every mention fires all edits; train "
                "the pack with scope=relation"
            )
        made = EditSet(profiles.missing(self._edits.values(), subjects))
        self.add(made, epochs=epochs or PROFILE_EPOCHS, on_epoch=on_epoch)
        return made

    @cached_property
    def _split(self) -> SplitModel:
        """The training engine; a copy of the weights in its precision is made once."""
        return split_model(self.backbone, self.pack.layer, self._adding(1))

    def _adding(self, epochs: int, **settings: float) -> TrainingConfig:
        """The pack's own settings, as far as this version has them, changed for new edits."""
        known = TrainingConfig().to_json()
        own = {k: v for k, v in self.pack.training.get("config", {}).items() if k in known}
        return TrainingConfig.from_json({**own, **ADDING, **settings, "epochs": epochs})

    def _gate_with(
        self,
        known: EditSet,
        new: EditSet,
        prompts: Sequence[TrainingPrompts],
        embed: Embed | None,
    ) -> GateState | None:
        """The gate with the references of new edits behind known ones; its metric stays."""
        held = self.exemplars(known)
        if self._gate is None or held is None or embed is None:
            return None
        _, found = learn(embed, new, prompts, metric=self._gate.metric)
        exemplars = Exemplars.joined([held, found], [len(known), len(new)])
        return replace(self._gate, exemplars=exemplars)

    @torch.no_grad()
    def _amortised(self, examples: Sequence[EditExamples]) -> Tensor:
        """What the trained hypernetwork makes of new edits' features, [n, d]."""
        hypernetwork = HyperNetwork(self.backbone.width, self.pack.kind)
        hypernetwork.load_state_dict(self.pack.hypernetwork)
        read = features(examples)
        blocks: Tensor = hypernetwork.to(read.device)(read)
        return blocks * self.pack.scale if self.pack.form == "residual" else blocks

    def remove(self, edit_ids: Iterable[str]) -> None:
        """Take edits out; KeyError for an unknown id, and nothing is removed then."""
        gone = list(edit_ids)
        for edit_id in gone:
            self._edits[edit_id]  # raises before anything is changed
        left = [edit for edit in self._edits.values() if edit.id not in gone]
        exemplars = self.exemplars(left)
        if self._gate is not None and exemplars is not None:
            self._gate = replace(self._gate, exemplars=exemplars)
        self._edits = {edit.id: edit for edit in left}
        self._blocks = {edit.id: self._blocks[edit.id] for edit in left}
        self._scope = self._gated(Scope(left))

    def stored_bytes(self) -> int:
        """Blocks and the gate's references; the hypernetwork is needed for adding only."""
        exemplars = self._gate.exemplars.vectors.nbytes if self._gate else 0
        return exemplars + sum(block.nbytes for block in self._blocks.values())

    def exemplars(self, edits: Iterable[Edit]) -> Exemplars | None:
        """The relation gate's references of edits in force."""
        number = {edit_id: i for i, edit_id in enumerate(self._edits)}
        wanted = [number[edit.id] for edit in edits]
        return self._gate.exemplars.only(wanted) if self._gate else None

    def _gated(self, names: Scope) -> Scope:
        """The scope of the edits in force, from their names."""
        if self._gate is None or self._embed is None:
            return names
        gate = RelationGate.of(self._gate, self._embed, self._edits.values())
        return names.with_gate(gate)

    def _replacing(self, encoding: Encoding) -> AbstractContextManager[Plan]:
        """The replacer for one batch: its plan has one place for each mention that fires."""
        rows, columns, members = [], [], []
        scanned = [rendered.scanned(self.roles) for rendered in encoding.texts]
        findings = self._scope.examine([text for text, _ in scanned])
        for row, (found, (_, place), offsets, start) in enumerate(
            zip(findings, scanned, encoding.offsets, encoding.starts, strict=True)
        ):
            fired = [finding.mention for finding in found if finding.mention.fired]
            for token, mention in locate(fired, place, offsets):
                rows.append(row)
                columns.append(start + token)
                members.append(mention.edit_ids)
        device = self.backbone.device
        stacked = [torch.stack([self._blocks[e] for e in ids]) for ids in members]

        def blocks(r: Tensor, places: Tensor) -> Tensor:
            own = [stacked[place] for place in places.tolist()]
            counts = torch.tensor([len(part) for part in own], device=device)
            owner = torch.arange(len(own), device=device).repeat_interleave(counts)
            return apply_form(self.pack.form, r.float(), torch.cat(own), owner, self.pack.scale)

        places = torch.tensor(rows, device=device), torch.tensor(columns, device=device)
        return replacing(self.layer, Plan(len(encoding.texts), *places, blocks, findings))
