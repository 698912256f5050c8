"""What the commands share: options with one meaning everywhere, loading, printing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from lks.edits.text import encodable
from lks.errors import EditFileError, InputError

Loaded = TypeVar("Loaded")

Model = Annotated[str, typer.Option(help="A packaged model, a local folder, or a hub id.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Threads = Annotated[
    int | None,
    typer.Option(help="CPU threads; all cores, or OMP_NUM_THREADS, if not given.", min=1),
]
LayersPath = Annotated[
    str | None, typer.Option(help="Where the model keeps its decoder layers, e.g. model.layers.")
]
Epochs = Annotated[
    int | None,
    typer.Option(help="Most epochs over all edits; more over those not learnt.", min=1),
]
Limit = Annotated[int | None, typer.Option(help="Only the first N rows.", min=1)]
MaxNewTokens = Annotated[
    int, typer.Option(help="Answers are cut there, or later where a target is longer.", min=1)
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PackPath = Annotated[Path, typer.Argument(help="A pack, the folder that lks edit wrote.")]
ScopeKind = Annotated[
    str | None,
    typer.Option(
        help="relation: a text fires the edit that it asks for; entity: all edits of whom it names."
    ),
]
EmbedderName = Annotated[
    str | None, typer.Option(help="minilm, or a sentence-transformers model: compares questions.")
]
Aliases = Annotated[
    Path | None, typer.Option(help="Further names: JSONL or CSV with id, label and aliases.")
]
Derived = Annotated[
    bool, typer.Option("--derived", help="Take surnames and initials that are unambiguous too.")
]
ALL_ROLES = "system,user,assistant"
Roles = Annotated[str, typer.Option(help="Whose messages are looked through for edited entities.")]
DEFAULT_MODEL = "smollm2-135m"


def load_edits(path: Path, limit: int | None, aliases: Path | None, derived: bool) -> Any:
    """An EditSet with further names; names that get in each other's way are told."""
    from lks.edits.aliases import AliasDictionary
    from lks.edits.edit_set import EditSet, warn_of_pairs
    from lks.scope.inspect.conflicts import clashes
    from lks.scope.names.derived import with_aliases

    edits = EditSet.load(path, limit=limit)
    if aliases is not None or derived:
        known = AliasDictionary.load(aliases) if aliases is not None else None
        edits = EditSet(with_aliases(edits, known, derived=derived))
    warn_of_pairs("names in each other's way", clashes(edits))
    return edits


def each(load: Callable[[Path], Loaded], files: Sequence[Path]) -> dict[Path, Loaded]:
    """What `load` makes of each file; what is wrong with any of them is told together."""
    found, errors = {}, []
    for file in files:
        try:
            found[file] = load(file)
        except InputError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        told = [[*getattr(error, "problems", []), str(error)] for error in errors]
        raise EditFileError(f"{len(errors)} files cannot be used", list(chain(*told)))
    return found


def scored_rows(path: Path, limit: int | None = None) -> Any:
    """An EditSet to be scored; that nothing is held out in it is told."""
    from lks.edits.edit_set import EditSet, EditWarning

    rows = EditSet.load(path, limit=limit)
    if not any(edit.heldout_prompts for edit in rows):
        warnings.warn(
            f'{path}: no "generality" and no held-out "locality" in it, '
            "so that only the edits' own prompts are scored",
            EditWarning,
            stacklevel=2,
        )
    return rows


def load_backbone(
    model: str, device: str, dtype: str, layers_path: str | None, threads: int | None, quiet: bool
) -> Any:
    from lks.cli.console import echo

    echo(f"loading {model} ...", quiet)

    import torch

    from lks.model.backbone import Backbone
    from lks.model.engine.machine import default_threads

    torch.set_num_threads(threads or default_threads())
    return Backbone.load(
        model, device=device, dtype=dtype, layers_path=layers_path,
        echo=lambda text: echo(text, quiet),
    )  # fmt: skip


def load_edited(
    pack: Path,
    model: str | None,
    device: str,
    dtype: str,
    layers_path: str | None,
    threads: int | None,
    quiet: bool = True,
    roles: str = ALL_ROLES,
) -> Any:
    """(backbone, edited model) of a pack; the pack is read before the model is loaded."""
    from lks.model.chat import ROLES

    scanned = [role.strip() for role in roles.split(",") if role.strip()]
    unknown = [role for role in scanned if role not in ROLES]
    if unknown:
        raise InputError(f"--roles: unknown role '{unknown[0]}'; some of {', '.join(ROLES)}")
    from lks.packs.pack import Pack

    loaded = Pack.load(pack)
    name = model or loaded.base_model["name"]
    backbone = load_backbone(name, device, dtype, layers_path, threads, quiet)

    from lks.editors.lks.model import ScalpelModel

    loaded.check(backbone.fingerprint)
    return backbone, ScalpelModel(backbone, loaded, roles=scanned)


def numbers(option: str, text: str, least: int = 0) -> list[int]:
    """Numbers as written on the command line, each once, in order."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f'{option} "{text}": give numbers with commas, 6,12,18') from None
    if found[0] < least:
        raise InputError(f"{option} {text}: {found[0]} is below {least}")
    return found


def print_version(pack: Path, manifest: dict[str, Any], as_json: bool) -> None:
    """Where a pack stands after a change."""
    if as_json:
        print_json({"pack": str(pack), "edits": manifest["edits"], "version": manifest["version"]})
    else:
        print(f"{pack}: {manifest['edits']} edits, version {manifest['version']}")


def print_json(value: Any, indent: int | None = 2) -> None:
    """A result for scripts."""
    print(encodable(json.dumps(value, ensure_ascii=False, indent=indent)))
