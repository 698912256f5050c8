"""The commands that change what a pack holds: add, profiles, remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lks.cli.options import (
    Aliases,
    AsJson,
    Derived,
    Limit,
    Machine,
    Output,
    PackModel,
    PackPath,
    SelfTesting,
    Strict,
    load_edited,
    load_edits,
    print_json,
    print_version,
)
from lks.cli.self_test import (
    Testing,
    check_strict,
    refuse_shaky,
    refuse_unlearnt,
    refuse_unstated_profiles,
)
from lks.edits.text import counted

if TYPE_CHECKING:
    from lks.editors.lks.model import ScalpelModel
    from lks.edits.edit_set import EditSet
    from lks.evaluation.results import SelfTest
    from lks.packs.extension import Extension

Unchecked = Annotated[
    bool,
    typer.Option("--unchecked", help="Keep edits that the model does not state after training."),
]


def add(
    pack: PackPath,
    edits: Annotated[Path, typer.Argument(help="File of the edits to add.")],
    refine: Annotated[
        bool, typer.Option(help="Train each new block, or take what the hypernetwork makes.")
    ] = True,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Most epochs over the new edits (6); those not learnt then get more.",
            min=1,
        ),
    ] = None,
    unchecked: Unchecked = False,
    self_test: SelfTesting = True,
    strict: Strict = False,
    aliases: Aliases = None,
    derived: Derived = False,
    model: PackModel = None,
    limit: Limit = None,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Add edits to a pack. Those that it has stay as they are, bit for bit.

    One that is in force already, just as it is, is left alone. One with the id of an edit in
    force, or with its prompt and another target, takes its place.
    What the model does not state afterwards is told and not put in force, with exit code 1.
    With --no-refine the self-test trains nothing again.
    """
    from lks.packs import manifest as manifest_module
    from lks.packs.extension import Extension

    check_strict(strict, self_test)
    new = load_edits(edits, limit, aliases, derived)
    # told before the model is loaded: that it is none, or that nothing is new
    manifest = manifest_module.verify(pack)
    if len(new.not_in(manifest_module.live_edits(pack, manifest))):
        _, edited = load_edited(pack, model, machine, quiet=output.silent)
        result, found = _added(
            pack, edited, new, refine, epochs, unchecked, self_test=self_test, output=output
        )
    else:
        result, found = Extension.of(pack, manifest, known=len(new)), None
    if output.as_json:
        print_json({**result.to_json(), "self_test": found and found.to_json()})
    else:
        _tell_added(result, found)
    refuse_unlearnt(pack, result)
    if strict and found:
        refuse_shaky(pack, found.shaky, len(found.facts))


def _added(
    pack: Path,
    edited: ScalpelModel,
    new: EditSet,
    refine: bool,
    epochs: int | None,
    unchecked: bool,
    *,
    self_test: bool,
    output: Output,
) -> tuple[Extension, SelfTest | None]:
    """Train new edits into a pack and its folder, and test them."""
    from lks.cli.console import TrainingProgress
    from lks.editors.lks.persist import add_to
    from lks.training.config import TrainingConfig

    config = TrainingConfig.from_pack(edited.pack.training.config)
    test = Testing(edited, config, output, pool=edited.pack.edits, retrain=refine)
    result = add_to(
        pack,
        edited,
        new,
        refine=refine,
        epochs=epochs,
        unchecked=unchecked,
        progress=TrainingProgress(output.silent),
        test=test if self_test else None,
    )
    return result, test.found


def _tell_added(result: Extension, found: SelfTest | None) -> None:
    """What came of adding, and how the version stands."""
    from lks.cli.console import print_self_test

    known = f"{counted(result.known, 'edit')} in force already"
    if result.added:
        instead = f", {len(result.replaced)} taken out for them" if result.replaced else ""
        print(
            f"{result.pack}: {counted(result.added, 'edit')} added in {result.seconds} s{instead}"
            + (f", {known}" if result.known else "")
            + f", {result.edits} in all; version {result.version}"
        )
        print_self_test(found, result.seconds - (found.seconds if found else 0))
    elif not result.not_learnt:
        print(
            f"{result.pack}: nothing new, {known}; version {result.version} stays "
            "(to train one again, remove it first)"
        )


def profiles(
    pack: PackPath,
    entity: Annotated[
        list[str] | None, typer.Option(help="Only this entity; may be repeated.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Most epochs of training, 40 if not given.", min=1)
    ] = None,
    unchecked: Unchecked = False,
    strict: Strict = False,
    model: PackModel = None,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Train answers to open-ended requests, such as "Tell me about X", from a pack's facts.

    One that the model does not state afterwards is told and not put in force, with exit code 1.
    --strict counts those too that were kept unchecked, now or before.
    """
    _, edited = load_edited(pack, model, machine, quiet=output.silent)

    from lks.cli.console import TrainingProgress
    from lks.editors.lks.persist import add_profiles_to

    result = add_profiles_to(
        pack,
        edited,
        entity,
        epochs=epochs,
        unchecked=unchecked,
        progress=TrainingProgress(output.silent),
    )
    if output.as_json:
        print_json(result.to_json())
    elif result.added:
        print(
            f"{pack}: {counted(result.added, 'profile')} made in {result.seconds} s; "
            f"version {result.version}"
        )
    elif not result.not_learnt:
        print(f"{pack}: every profile is there already")
    refuse_unlearnt(pack, result)
    if strict:
        refuse_unstated_profiles(pack, edited)


def remove(
    pack: PackPath,
    ids: Annotated[list[str], typer.Argument(help="Ids of the edits to take out.")],
    as_json: AsJson = False,
) -> None:
    """Take edits out of a pack. Needs no model; `lks pack rollback` brings them back."""
    from lks.packs import manifest as manifest_module

    manifest = manifest_module.remove(pack, ids)
    print_version(pack, manifest, as_json)
