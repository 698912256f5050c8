"""The Latent Knowledge Scalpel: the one place where its parts are wired together.

pack = train_pack(backbone, edits)
with Scalpel(pack).apply(backbone) as model:
    model.generate(["Where is the Eiffel Tower?"], chat=True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from threading import RLock
from typing import Self, Unpack

import torch
from torch import Tensor

from lks.blocks.growing import Looking
from lks.blocks.in_force import InForce
from lks.blocks.rows import rounded
from lks.blocks.trainable import RefinedBlocks
from lks.editors.lks import rescan as rescanning
from lks.editors.lks.stream import Stream, stream
from lks.editors.protocol import EditedModel, EditingCost
from lks.edits import profiles
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet, warn_of_pairs
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.chat import ROLES, Prompt, each_prompt, messages
from lks.model.embedder import CachedEmbedder, Embedder, Embedders
from lks.model.engine import transformers
from lks.model.engine.choice import AnyEngine
from lks.model.engine.protocol import Generation, Intervention, Score, ScoreOptions
from lks.model.untyped import Setting
from lks.packs.pack import Pack
from lks.scope.gate.metric import Exemplars
from lks.scope.inspect.conflicts import CONTRADICTING, NEARER_DECIDES
from lks.scope.inspect.silent import check_edits_fire, warn_of_nameless
from lks.scope.normalizer import BETWEEN
from lks.scope.types import Finding
from lks.training.config import TrainingConfig
from lks.training.examples import build_examples, features
from lks.training.gate_metric import learn
from lks.training.progress import Epoch
from lks.training.prompts import GATE_WORDINGS, TrainingPrompts, training_prompts
from lks.training.replies import replies
from lks.training.trainer import refine as train_refinements
from lks.training.trainer import training_engine

ADD_EPOCHS, PROFILE_EPOCHS = 6, 40  # a profile's target is several sentences long
# A new block starts from what the hypernetwork makes, and no other depends on it: few, large steps.
# Two epochs of three turns bring every kind of text once in a chat; then training may stop.
ADDING = {"refine_lr": 3.0, "least_steps": 3, "batch_size": 0, "wordings": 2, "target_loss": 0.1}
# Long targets: .90 of the facts stated, else .71.
PROFILING = {"refine_lr": 0.3, "least_steps": 4, "tail_epochs": 0}


class ScalpelModel(EditedModel):
    """A backbone that reads prompts with knowledge blocks put in. The pack is not changed.

    Nothing is changed in the backbone either: blocks are put in while a call runs. So there is
    nothing to undo, and `with` is not needed; it works, as for other editors.

    Any thread may read while another one changes what is in force: each call works on what was in
    force when it began. Changes wait for each other.

    Args:
        roles: whose messages in a chat are looked through for mentions.
        embedders: where embedders are loaded, if others use the same ones.
    """

    def __init__(
        self,
        backbone: Backbone,
        pack: Pack,
        *,
        roles: Sequence[str] = ROLES,
        embedders: Embedders | None = None,
    ) -> None:
        self.backbone, self.pack, self.roles = backbone, pack, roles
        self.layers = [backbone.layer(layer) for layer in pack.layers]
        self._embed = (embedders or Embedders()).of(pack.gate)
        self._now = pack.in_force_with(self._embed, backbone.device)
        self._changing = RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing to undo."""

    @property
    def in_force(self) -> InForce:
        """What is in force now; it never changes itself."""
        return self._now

    @property
    def embedder(self) -> Embedder | None:
        """What the relation gate compares questions with; None without a gate."""
        return self._embed

    def restore(self, earlier: InForce) -> None:
        """Bring back what was in force at another time, at once: `model.in_force` of then."""
        with self._changing:
            self._now = earlier

    def score(
        self, pairs: Sequence[tuple[Prompt, str]], **options: Unpack[ScoreOptions]
    ) -> list[Score]:
        """Teacher-forced scores of (prompt, target) pairs, one each; see `editor.EditedModel`."""
        return transformers.score(self.backbone, pairs, self._within(self._now), **options)

    def respond(
        self, prompts: Sequence[Prompt], *, rescan: bool = False, **options: Setting
    ) -> list[Generation]:
        """What the model writes after each prompt, and what fired; `generate` gives texts alone.

        Args:
            rescan: look through the model's own text too, as it grows; an edit that fires there
                is in force from then on.
        """
        now = self._now
        if rescan and self.backbone.kind == "encoder-decoder":
            raise InputError(
                f"{self.backbone.name} is an encoder-decoder: its encoder reads the prompt alone, "
                "so its own text cannot be looked through as it grows (--rescan)"
            )
        if rescan:
            tokenizer, special = self.backbone.tokenizer, self.backbone.special_ids
            look = Looking(now, self.roles, self.pack.training.exact, tokenizer, special)
            return rescanning.generate(self.backbone, prompts, look, self.layers, **options)
        return transformers.generate(self.backbone, prompts, self._within(now), **options)

    def _within(self, now: InForce) -> Intervention:
        return now.within(self.layers, self.roles, exact=self.pack.training.exact)

    def stream(
        self, prompt: Prompt, *, chat: bool = False, max_new_tokens: int = 64, **settings: Setting
    ) -> Stream:
        """The text that the model writes after one prompt, in pieces, as it is written.

        Put together they are what `respond` gives, with the white space around it. What fired is
        known from the beginning. Whoever reads no further closes the stream; then writing stops.

        Args:
            settings: as of `respond`, but for `streamer`.
        """
        placed = self._now.placed(self.layers, self.roles, exact=self.pack.training.exact)
        return stream(self.backbone, prompt, placed, chat, max_new_tokens, settings)

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]:
        """Whether any edit fires, for each prompt.

        Args:
            chat: as of `generate`; a name in a chat counts like one in a plain prompt.
        """
        texts = [self._text(prompt) for prompt in each_prompt(prompts)]
        return [bool(fired) for fired in self._now.scope.fired(texts)]

    def blocks(self, edits: Iterable[Edit]) -> Tensor:
        """The knowledge blocks of edits in force, [n, k, d] for k edited layers."""
        return self._now.bank.of_edits(edit.id for edit in edits)

    def exemplars(self, edits: Iterable[Edit]) -> Exemplars | None:
        """The relation gate's references of edits in force."""
        return self._now.exemplars(edits)

    def examine(self, prompt: Prompt) -> list[Finding]:
        """The mentions of edited entities in a prompt, whether they fire, and why."""
        return self._now.scope.examine([self._text(prompt)])[0]

    def contradicted(self, edits: Iterable[Edit]) -> set[str]:
        """Ids of those edits that another one in force contradicts.

        The prompt of one asks for both, or it is the same and this edit was left out for the other.
        """
        now, edits = self._now, list(edits)
        inside = [edit for edit in edits if edit.id in now.edits]
        pairs = now.contradictions(inside)
        found = {e.id for pair in pairs for e in (pair.asked, pair.too)} & {e.id for e in inside}
        targets = {edit.question: edit.target for edit in now.edits.values()}
        return found | {e.id for e in edits if targets.get(e.question, e.target) != e.target}

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
        only_learnt: bool = False,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> EditSet:
        """Bring edits into force beside those that are; no other block changes.

        A new block starts as what the trained hypernetwork makes of the edit's feature. An edit
        takes the place of one with its id, and of one that gives its prompt another target.

        Args:
            refine: train each new block from there, with the pack's own settings; without it an
                edit costs one reading of its text, and holds as far as the hypernetwork has learnt
                to edit facts that it never saw.
            pool: further edits whose templates may be lent as training prompts.
            epochs: at most so many; `ADD_EPOCHS` if not given.
            only_learnt: leave out the edits of which the model, asked their own prompt, does not
                write the target then; plain and, if new blocks are trained in chats, in a chat.

        Returns:
            The edits that were brought into force.

        Raises:
            EditFileError: an edit would never fire, or an id is twice.
        """
        new = EditSet(edits)
        if not len(new):
            return new
        with self._changing:
            now = self._now
            after = self._with(now, new, refine, pool, epochs, on_epoch)
            if only_learnt:
                stated = self._stated(after, new, chat=refine and self._adding(1).chat)
                new = EditSet(edit for edit, said in zip(new, stated, strict=True) if said)
                if len(new) < len(stated):
                    blocks = after.bank.of_edits(edit.id for edit in new)
                    after = now.joined(new, blocks, after.exemplars(new), self._embed)
            self._now = after
        warn_of_nameless(new, after.scope.with_gate(None))
        warn_of_pairs(CONTRADICTING, after.contradictions(new), NEARER_DECIDES)
        return new

    def _with(
        self,
        now: InForce,
        new: EditSet,
        refine: bool,
        pool: Iterable[Edit],
        epochs: int | None,
        on_epoch: Callable[[Epoch], None],
    ) -> InForce:
        """What `now` becomes with new edits, whose blocks are made here."""
        known = now.beside(new)
        names = now.scope.of_edits([*known, *new])
        check_edits_fire(new, names)
        settings = PROFILING if any(edit.profile_of for edit in new) else {}
        config = self._adding(epochs or ADD_EPOCHS, **settings).for_edits(len(new))
        embed = CachedEmbedder(self._embed) if self._embed else None
        lent, _ = training_prompts(
            new, [*known, *pool], embed=embed, most=GATE_WORDINGS, seed=config.seed
        )
        prompts, told = [TrainingPrompts()] * len(new), []
        if refine:
            prompts = [p.at_most(config.wordings, e) for e, p in zip(new, lent, strict=True)]
            told = replies(self.backbone, new, prompts, config)
        found = None
        if now.gate is not None and embed is not None:
            _, found = learn(embed, new, lent, metric=now.gate.metric)
        examples, _ = build_examples(
            self._engine,
            new,
            prompts,
            names,
            chat=config.chat and refine,
            kl_tokens=config.locality_places,
            alone=now.gate is not None,
            known=known,
            replies=told,
        )
        blocks = self.pack.amortised(features(examples))
        if refine:
            given = torch.cat([now.bank.of_edits(edit.id for edit in known), blocks])
            refined = RefinedBlocks(
                given, len(known), form=self.pack.form, scale=self.pack.scale
            ).to(self.backbone.device)
            train_refinements(self._engine, refined, examples, config, on_epoch=on_epoch)
            with torch.no_grad():
                blocks = refined.blocks(torch.arange(len(known), len(given), device=given.device))
        return now.joined(new, rounded(blocks), found, self._embed, names)

    def add_profiles(
        self,
        subjects: Iterable[str] | None = None,
        *,
        epochs: int | None = None,
        only_learnt: bool = False,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> EditSet:
        """Train profiles that state all facts of an entity when a request is open-ended.

        Args:
            subjects: of these entities; else of all that have no profile in force.
            epochs, only_learnt: as of `add`; `PROFILE_EPOCHS` if not given.

        Returns:
            The profiles that were brought into force, which may be none.

        Raises:
            InputError: no edit is about one of the subjects, or there is no relation gate.
        """
        if self._now.gate is None:
            raise InputError(
                "profiles need a relation gate: without one every mention fires all edits; train "
                "the pack with scope=relation"
            )
        with self._changing:
            made = profiles.missing(self._now.edits.values(), subjects)
            return self.add(
                made, epochs=epochs or PROFILE_EPOCHS, only_learnt=only_learnt, on_epoch=on_epoch
            )

    def retrain(self, edits: Iterable[Edit]) -> Callable[[Iterable[str]], None]:
        """Train edits in force again on the prompts that they have here; see `Retrains`."""
        taught = EditSet(edits)
        with self._changing:
            before = self._now
            own = [before.edits[edit.id] for edit in taught]
            after = self._with(before, taught, True, (), None, lambda epoch: None)
            self._now = self._with_parts_of(after, before, own)

        def take_back(ids: Iterable[str]) -> None:
            with self._changing:
                self._now = self._with_parts_of(before, self._now, [before.edits[i] for i in ids])

        return take_back

    def _with_parts_of(self, source: InForce, now: InForce, edits: Sequence[Edit]) -> InForce:
        """What `now` becomes when these edits have the blocks and references of another time."""
        blocks = source.bank.of_edits(edit.id for edit in edits)
        return now.joined(EditSet(edits), blocks, source.exemplars(edits), self._embed)

    def unstated(self, edits: Iterable[Edit]) -> list[Edit]:
        """Those of some edits in force whose target the model does not write.

        It is asked their own prompts, plain and, if blocks were trained in chats, in a chat.
        """
        edits = list(edits)
        stated = self._stated(self._now, edits, chat=self._adding(1).chat)
        return [edit for edit, said in zip(edits, stated, strict=True) if not said]

    def _stated(self, now: InForce, edits: Sequence[Edit], *, chat: bool) -> list[bool]:
        """Whether the model, asked the own prompt of each edit, writes just its target.

        Its greedy choice is the target's at every token; in a chat too, if asked for.
        """
        pairs, intervention = [(edit.prompt, edit.target) for edit in edits], self._within(now)
        styles = [
            transformers.score(self.backbone, pairs, intervention, chat=style)
            for style in ((False, True) if chat and self.backbone.has_chat else (False,))
        ]
        return [all(all(score.matches) for score in own) for own in zip(*styles, strict=True)]

    @cached_property
    def _engine(self) -> AnyEngine:
        """The training engine; a copy of the weights in its precision is made once."""
        return training_engine(self.backbone, self.pack.layers, self._adding(1))

    def _adding(self, epochs: int, **settings: float) -> TrainingConfig:
        """The pack's own settings, as far as this version has them, changed for new edits."""
        own = TrainingConfig.from_pack(self.pack.training.config).to_json()
        return TrainingConfig.from_json({**own, **ADDING, **settings, "epochs": epochs})

    def remove(self, edit_ids: Iterable[str]) -> None:
        """Take edits out; KeyError for an unknown id, and nothing is removed then. One id will do,
        as a text."""
        gone = {edit_ids} if isinstance(edit_ids, str) else set(edit_ids)
        with self._changing:
            now = self._now
            if unknown := gone - now.edits.keys():
                raise KeyError(min(unknown))
            self._now = now.without(gone, self._embed)

    @property
    def decided(self) -> dict[str, object]:
        """The settings that the pack was trained with."""
        return dict(self.pack.training.config)

    def editing_cost(self, seconds: float) -> EditingCost:
        """What the pack's training took, whenever that was."""
        training = self.pack.training
        return EditingCost(training.seconds, training.peak_memory_bytes or 0)

    def stored_bytes(self) -> int:
        """Blocks, the gate's references and texts; the hypernetwork is needed for adding only."""
        return self._now.stored_bytes()
