"""`lks pack ...`: what a pack holds, its hashes and its versions."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from lks.cli.options import AsJson, PackPath, print_json, print_version
from lks.edits.export import to_jsonl
from lks.edits.profiles import in_force
from lks.edits.text import counted

if TYPE_CHECKING:
    from lks.packs.records import Correction, Manifest

LISTED = ("add", "remove", "self-test")  # changes whose edits the log names

pack_app = typer.Typer(help="Look at packs and their versions.", no_args_is_help=True)


@pack_app.command("info")
def pack_info(pack: PackPath, as_json: AsJson = False) -> None:
    """What a pack holds."""
    from lks.packs.manifest import parts_of, resting, verify
    from lks.scope.registry import PARTS

    manifest = verify(pack)
    if as_json:
        print_json({**manifest.to_json(), "shaky": manifest.shaky})
        return
    out = len(resting(pack, manifest))
    told = {
        "schema": manifest.schema,
        "lks": manifest.lks,
        "version": manifest.version,
        "layers": list(manifest.layers),
        "form": manifest.form,
        "hypernetwork": manifest.hypernetwork,
        "edits": f"{manifest.edits}" + (f", {counted(out, 'profile')} out of force" if out else ""),
        "exact": "yes" if manifest.training.exact else "no",
        "base model": manifest.base_model.name,
        "files": ", ".join(manifest.files),
        "self-test": _self_test(pack, manifest),
    }
    for key, value in told.items():
        print(f"{key:13} {value}")
    parts = parts_of(manifest)
    print(f"{'scope':13} {'with a' if parts.gate else 'without a'} relation gate, made of")
    for kind in PARTS:
        print(f"  {kind.replace('_', ' '):15} {', '.join(getattr(parts, kind)) or 'none'}")


def _self_test(pack: Path, manifest: Manifest) -> str:
    """How many of the edits in force a self-test asked, and which of them are shaky."""
    from lks.packs.manifest import live_edits

    if manifest.tested is None:
        return "none"
    shaky = manifest.shaky
    named = [f"{e.id} ({e.subject})" for e in live_edits(pack, manifest) if e.id in shaky]
    told = f"{len(manifest.tested)} of {counted(manifest.edits, 'edit')} asked, {len(shaky)} shaky"
    return f"{told}: {', '.join(named)}" if named else told


@pack_app.command("edits")
def pack_edits(pack: PackPath, as_json: AsJson = False) -> None:
    """The edits in force with their ids; --json prints a record per line, as in a file of facts."""
    from lks.packs.manifest import live_edits, verify

    manifest = verify(pack)
    edits = in_force(live_edits(pack, manifest))
    if as_json:
        print(to_jsonl(edits), end="")
        return
    for edit in edits:
        shaky = "  (shaky)" if edit.id in manifest.shaky else ""
        print(f"{edit.id}  {edit.subject}: {edit.prompt} -> {edit.target}{shaky}")


@pack_app.command("verify")
def pack_verify(pack: PackPath, as_json: AsJson = False) -> None:
    """Check every file of a pack against its hash."""
    from lks.packs.pack import Pack

    count = len(in_force(Pack.load(pack).edits))
    if as_json:
        print_json({"pack": str(pack), "ok": True, "edits": count})
    else:
        print(f"{pack}: {counted(count, 'edit')}, all files as they were saved")


@pack_app.command("log")
def pack_log(pack: PackPath, as_json: AsJson = False) -> None:
    """The versions of a pack, the newest first."""
    from lks.packs.manifest import history

    manifests = history(pack)
    if as_json:
        keys = ("version", "edits", "change", "parent")
        print_json([{key: made.to_json()[key] for key in keys} for made in manifests])
        return
    for manifest in manifests:
        change = manifest.change
        named = ", ".join(change.edits) if change.action in LISTED else ""
        more = ", ..." if named and change.count > len(change.edits) else ""
        if change.replaced:
            more += f" in place of {', '.join(map(_corrected, change.replaced))}"
        what = f"{change.action:12} {named}{more}".rstrip()
        print(f"{manifest.version:4}  {change.at}  {counted(manifest.edits, 'edit'):>12}  {what}")


def _corrected(gone: Correction) -> str:
    """An edit that another one took the place of; early packs tell its id only."""
    if gone.target is None or gone.new_target is None:
        return gone.id
    old, new = (shorten(text, 60, placeholder=" ...") for text in (gone.target, gone.new_target))
    return f'{gone.id} ("{old}" -> "{new}")'


@pack_app.command("rollback")
def pack_rollback(
    pack: PackPath,
    to: Annotated[
        int | None, typer.Option(help="The version to bring back; else one further back each time.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Undo the last change, again and again; or bring any version back. Makes a new version."""
    from lks.packs.manifest import rollback

    print_version(pack, rollback(pack, to), as_json)


@pack_app.command("threshold")
def pack_threshold(
    pack: PackPath,
    relation: Annotated[
        float | None, typer.Argument(help="Least score that fires an edit.", min=0, max=1)
    ] = None,
    open_ended: Annotated[
        float | None,
        typer.Option(
            "--open", help="The same for open-ended requests; 1: none fires.", min=0, max=1
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set the relation gate's thresholds, as a new version."""
    from lks.errors import InputError
    from lks.packs.manifest import set_thresholds

    if relation is None and open_ended is None:
        raise InputError("give a threshold between 0 and 1, or --open")
    made = set_thresholds(pack, threshold=relation, open_threshold=open_ended)
    print_version(pack, made, as_json)
