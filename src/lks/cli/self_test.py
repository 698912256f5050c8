"""Whether facts hold: the self-test of edit and add, and what is not learnt or shaky."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lks.cli.options import Output
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet, named_edits
from lks.edits.profiles import in_force
from lks.edits.text import counted
from lks.errors import InputError, NotLearnt

if TYPE_CHECKING:
    from lks.editors.lks.model import ScalpelModel
    from lks.evaluation.results import SelfTest
    from lks.packs.extension import Extension
    from lks.packs.records import Tested
    from lks.training.config import TrainingConfig


class Testing:
    """The self-test of a command.

    Attributes:
        found: what it came to; None until it was made.
    """

    def __init__(
        self,
        model: ScalpelModel,
        config: TrainingConfig,
        output: Output,
        *,
        pool: Iterable[Edit],
        retrain: bool,
    ) -> None:
        self._model, self._config, self._output = model, config, output
        self._pool, self._retrain = list(pool), retrain
        self.found: SelfTest | None = None

    def __call__(self, edits: EditSet) -> Tested:
        """Test edits in force; what a pack keeps of it."""
        from lks.cli.console import echo
        from lks.evaluation.self_test import self_test

        self.found = self_test(
            self._model,
            self._model.backbone,
            edits,
            self._config,
            pool=self._pool,
            embedder=self._model.embedder,
            retrain=self._retrain,
            on_stage=lambda stage: echo(f"{stage} ...", self._output.silent),
        )
        return self.found.tested


def check_strict(strict: bool, self_test: bool) -> None:
    """Raise InputError for --strict without what it is about."""
    if strict and not self_test:
        raise InputError("--strict needs the self-test; leave out --no-self-test")


def refuse_unlearnt(pack: Path, result: Extension) -> None:
    """NotLearnt if there are edits that the model does not state; the others are in the pack."""
    if failed := result.not_learnt:
        raise NotLearnt(
            f"{pack}: {len(failed)} of {len(failed) + result.added} not learnt and not in "
            f"force: {named_edits(failed)}; try more --epochs or other wordings, or --unchecked"
        )


def refuse_shaky(pack: Path, found: SelfTest | None) -> None:
    """NotLearnt if a fact failed the self-test; all are in the pack."""
    if found and (shaky := found.shaky):
        raise NotLearnt(
            f"{pack}: {len(shaky)} of {counted(len(found.facts), 'fact')} shaky, though in force: "
            f"{named_edits(shaky)}; give them paraphrases and train again"
        )


def refuse_unstated_profiles(pack: Path, model: ScalpelModel) -> None:
    """NotLearnt if there are profiles in force that the model does not state."""
    held = [edit for edit in in_force(model.in_force.edits.values()) if edit.profile_of]
    if failed := model.unstated(held):
        share = f"{len(failed)} of {counted(len(held), 'profile')}"
        raise NotLearnt(
            f"{pack}: {share} not learnt, though in force: {named_edits(failed)}; "
            "try more --epochs, or lks remove"
        )
