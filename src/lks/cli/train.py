"""The commands that train from nothing: edit, layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lks.cli.options import (
    DEFAULT_MODEL,
    Aliases,
    Derived,
    EmbedderName,
    Epochs,
    Limit,
    Machine,
    Model,
    Output,
    ScopeKind,
    SelfTesting,
    Strict,
    load_backbone,
    load_edits,
    load_rows,
    numbers,
    print_json,
)
from lks.cli.self_test import Testing, check_strict, refuse_shaky
from lks.edits.edit_set import EditSet
from lks.edits.profiles import in_force
from lks.edits.text import counted
from lks.errors import InputError, TrainingInterrupted

if TYPE_CHECKING:
    from lks.evaluation.results import SelfTest
    from lks.model.backbone import Backbone
    from lks.packs.pack import Pack
    from lks.training.config import TrainingConfig
    from lks.training.prompts import PromptReport, TrainingPrompts


def edit(
    edits: Annotated[Path, typer.Argument(help="File of edits: JSONL, JSON or CSV.")],
    out: Annotated[Path, typer.Option(help="Folder for the pack.")],
    model: Model = DEFAULT_MODEL,
    preset: Annotated[str, typer.Option(help="Settings: default or paper.")] = "default",
    layer: Annotated[
        str | None,
        typer.Option(help="Decoder layer, counted from 0, or several of them: 12,18."),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="Form of the block: residual or replace.")
    ] = None,
    hypernetwork: Annotated[
        str | None, typer.Option(help="Network that makes the blocks: mlp or linear.")
    ] = None,
    epochs: Epochs = None,
    batch_size: Annotated[int | None, typer.Option(help="Edits per step.", min=1)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of the hypernetwork.")] = None,
    chat: Annotated[
        bool | None, typer.Option("--chat/--no-chat", help="Train on chat turns too.")
    ] = None,
    scope: ScopeKind = None,
    embedder: EmbedderName = None,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--no-exact", help="Targets are said whole where a fact does not say otherwise."
        ),
    ] = None,
    aliases: Aliases = None,
    derived: Derived = False,
    limit: Limit = None,
    seed: int = 0,
    memory: Annotated[
        float | None,
        typer.Option(help="Most memory to use, in GB; default half of the machine's.", min=0),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume", help="Go on from an interrupted run, or start afresh."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a pack that is there.")] = False,
    self_test: SelfTesting = True,
    strict: Strict = False,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Train a pack from a file of edits.

    Each fact is then asked in words that training did not see. Facts that fail are trained again
    with these words; those that still do are named, and marked as shaky in the pack.
    """
    from lks.packs.folder import check_target
    from lks.training.config import TrainingConfig

    check_strict(strict, self_test)
    given = {
        "layer": None if layer is None else _given_layers(layer),
        "form": form,
        "hypernetwork": hypernetwork,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "chat": chat,
        "seed": seed,
        "scope": scope,
        "embedder": embedder,
        "exact": exact,
    }
    if form == "replace":
        given["refine"] = False
    settings = {key: value for key, value in given.items() if value is not None}
    config = TrainingConfig.from_json(settings, preset=preset)
    if memory is not None and not isfinite(memory):
        raise InputError(f"--memory {memory}: give a number of GB")
    chosen = load_edits(edits, limit, aliases, derived)
    pool = EditSet.load(edits) if limit else chosen  # they only lend templates
    check_target(out, overwrite=overwrite)
    if resume is None:
        from lks.training import checkpoint

        checkpoint.check_absent(checkpoint.beside(out.resolve()))
    backbone = load_backbone(model, machine, quiet=output.quiet)

    from lks.cli.console import TrainingProgress, echo, print_self_test
    from lks.model.engine.machine import machine_memory
    from lks.training.distributed import ProcessGroup
    from lks.training.run import train_to

    told: list[PromptReport] = []

    def tell_few(report: PromptReport) -> None:
        told.append(report)
        if report.few:
            advice = f"`lks wordings {edits} --out MORE.jsonl` proposes some"
            echo(f"{report.few_named()}; {advice}", output.silent)

    pack = train_to(
        out,
        backbone,
        chosen,
        config,
        pool=pool,
        resume=resume,
        overwrite=overwrite,
        memory=machine_memory() // 2 if memory is None else int(memory * 1e9),
        progress=TrainingProgress(output.silent),
        on_prompts=tell_few,
    )
    if not ProcessGroup.of_environment(backbone.device).is_main:
        return
    (report,) = told
    found = None
    if self_test:
        found = _tested(out, pack, backbone, config, pool, report.prompts, output)
    result = {
        "pack": str(out),
        "edits": len(in_force(pack.edits)),
        "seconds": pack.training.seconds,
        "peak_memory_bytes": pack.training.peak_memory_bytes,
        "layers": list(pack.layers),
        "epochs": pack.training.epochs,
        "losses": pack.training.losses,
        "few_wordings": [edit.id for edit in report.few],
        "self_test": found and found.to_json(),
    }
    if output.as_json:
        print_json(result)
    else:
        count = counted(len(in_force(pack.edits)), "edit")
        print(f"{out}: {count} at {_named_layers(pack.layers)}, {result['seconds']} s")
        print_self_test(found, pack.training.seconds)
    if strict and found:
        refuse_shaky(out, found.shaky, len(found.facts))


def _given_layers(text: str) -> int | list[int]:
    first, *more = numbers("--layer", text)
    return [first, *more] if more else first


def _named_layers(layers: Sequence[int]) -> str:
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def _tested(
    out: Path,
    pack: Pack,
    backbone: Backbone,
    config: TrainingConfig,
    pool: EditSet,
    seen: Sequence[TrainingPrompts],
    output: Output,
) -> SelfTest | None:
    """Test a pack that was just saved, and save it again with what that found and trained."""
    from lks.editors.lks.model import ScalpelModel
    from lks.editors.lks.persist import as_tested

    try:
        model = ScalpelModel(backbone, pack)
        # Settings without refinements exclude what training again would add.
        test = Testing(model, config, output, pool=pool, retrain=config.refine, seen=seen)
        as_tested(model, test(pack.edits)).save(out, overwrite=True)
    except KeyboardInterrupt:
        raise TrainingInterrupted(
            f"the self-test was interrupted; {out} is trained and kept; `lks self-test {out}` "
            "goes on with the test"
        ) from None
    return test.found


def layers(
    edits: Annotated[Path, typer.Argument(help="File of edits: JSONL, JSON or CSV.")],
    out: Annotated[Path, typer.Option(help="Folder for the table and the plot.")],
    model: Model = DEFAULT_MODEL,
    sample: Annotated[int, typer.Option(help="Train the first N edits at each layer.", min=1)] = 50,
    at: Annotated[
        str | None, typer.Option(help="Layers to try, such as 6,12,18; else --count.")
    ] = None,
    count: Annotated[int, typer.Option(help="Number of layers to try, evenly spread.", min=1)] = 10,
    epochs: Epochs = None,
    chat: Annotated[bool, typer.Option(help="Train on chat turns too.")] = False,
    scope: ScopeKind = None,
    embedder: EmbedderName = None,
    seed: int = 0,
    machine: Machine = Machine(),
    output: Output = Output(),
) -> None:
    """Train a small sample at several layers, and name the best. Run again, it goes on."""
    from lks.training.config import TrainingConfig

    chosen, pool = load_rows(edits, sample), EditSet.load(edits)
    given = {"chat": chat, "seed": seed, "epochs": epochs, "scope": scope, "embedder": embedder}
    config = TrainingConfig.from_json({k: v for k, v in given.items() if v is not None})
    wanted = numbers("--at", at) if at is not None else None
    backbone = load_backbone(model, machine, quiet=output.silent)

    from lks.cli.console import echo, layer_line, print_layers
    from lks.editors.lks.model import ScalpelModel
    from lks.evaluation import layer_search as choice
    from lks.training.train_pack import train_pack

    def train(config: TrainingConfig) -> choice.Trained:
        pack = train_pack(backbone, chosen, config, pool=pool)
        told = pack.training
        return choice.Trained(ScalpelModel(backbone, pack), told.seconds, told.epochs)

    rows = choice.compare(
        backbone,
        chosen,
        config,
        wanted or choice.spread(backbone.n_layers, count),
        out,
        train,
        pool=pool,
        on_layer=lambda row: echo(layer_line(row), output.silent),
        on_refused=lambda error: echo(f"left out: {error}", output.silent),
    )
    best = choice.best(rows)
    title = f"{backbone.name}, {counted(len(chosen), 'edit')} of {edits.name}"
    if output.as_json:
        told = [row.to_json() for row in rows]
        print_json({"best": best, "layers": told, "plot": str(out / choice.PLOT)})
    else:
        print_layers(rows, best, title)
        print(f"best: layer {best} of {backbone.n_layers} (lks edit --layer {best})")
    choice.draw(rows, out / choice.PLOT, title)
