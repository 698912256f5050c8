"""Whether facts hold: the self-test of edit and add, and what is not learnt or shaky."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lks.cli.options import (
    Machine,
    Output,
    PackModel,
    PackPath,
    Strict,
    load_edited,
    print_json,
    print_version,
)
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet, OfEdit, named_edits
from lks.edits.profiles import in_force
from lks.edits.text import counted
from lks.errors import InputError, NotLearnt

if TYPE_CHECKING:
    from lks.editors.lks.model import ScalpelModel
    from lks.evaluation.results import SelfTest
    from lks.packs.extension import Extension
    from lks.packs.records import Manifest, Tested
    from lks.training.config import TrainingConfig
    from lks.training.prompts import TrainingPrompts


class Testing:
    """The self-test of a command; arguments as of `self_test`.

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
        seen: Sequence[TrainingPrompts] | None = None,
    ) -> None:
        self._model, self._config, self._output = model, config, output
        self._pool, self._retrain, self._seen = list(pool), retrain, seen
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
            seen=self._seen,
            retrain=self._retrain,
            on_stage=lambda stage: echo(f"{stage} ...", self._output.silent),
        )
        return self.found.tested


def self_test(
    pack: PackPath,
    again: Annotated[
        bool, typer.Option("--again", help="Ask the facts too that were asked before.")
    ] = False,
    strict: Strict = False,
    model: PackModel = None,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Ask a pack's facts in words that training did not see, as lks edit does after training.

    It asks those that no self-test has asked yet, 300 at most. What fails is trained again. What
    that finds is a new version of the pack.
    """
    from lks.packs import manifest as manifest_module

    manifest = manifest_module.verify(pack)
    asked = () if again else manifest.tested or ()
    edits = in_force(manifest_module.live_edits(pack, manifest))
    left = EditSet(edit for edit in edits if not edit.profile_of and edit.id not in asked)
    found = None
    if len(left):
        found, manifest = _tested(pack, left, model, machine, output)
    if output.as_json:
        told = found and found.to_json()
        print_json({"pack": str(pack), "version": manifest.version, "self_test": told})
    elif found is None:
        print(f"{pack}: every fact was asked before; --again asks them anew")
    else:
        from lks.cli.console import print_self_test

        print_self_test(found, 0.0)
        print_version(pack, manifest, as_json=False)
    if strict:
        shaky = [edit for edit in edits if edit.id in manifest.shaky]
        refuse_shaky(pack, shaky, len(manifest.tested or ()))


def _tested(
    pack: Path, edits: EditSet, model: str | None, machine: Machine, output: Output
) -> tuple[SelfTest | None, Manifest]:
    """Test edits of a pack; what came of it, and the manifest now."""
    _, edited = load_edited(pack, model, machine, quiet=output.silent)

    from lks.editors.lks.persist import self_test_in
    from lks.training.config import TrainingConfig

    config = TrainingConfig.from_pack(edited.pack.training.config)
    test = Testing(edited, config, output, pool=edited.pack.edits, retrain=config.refine)
    manifest = self_test_in(pack, edited, edits, test)
    return test.found, manifest


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


def refuse_shaky(pack: Path, shaky: Sequence[OfEdit], asked: int) -> None:
    """NotLearnt if some of the facts that were asked failed the self-test; all are in the pack."""
    if shaky:
        raise NotLearnt(
            f"{pack}: {len(shaky)} of {counted(asked, 'fact')} shaky, though in force: "
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
