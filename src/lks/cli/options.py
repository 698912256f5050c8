"""What the commands share: options with one meaning everywhere, loading, printing."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, get_type_hints

import typer

from lks.edits.edit_set import EditSet, named_pairs
from lks.edits.jsonl import bad_lines, parsed
from lks.edits.text import counted, encodable
from lks.errors import EditFileError, InputError, OutputError
from lks.files import write_whole

if TYPE_CHECKING:
    from lks.editors.lks.model import ScalpelModel
    from lks.model.backbone import Backbone
    from lks.packs.records import Manifest

Loaded = TypeVar("Loaded")
Place = TypeVar("Place", bound=Path | str)

Model = Annotated[
    str, typer.Option(help="A name of `lks models`, a folder, a GGUF file, or a hub id.")
]
Device = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda, cuda:1, ..., or offload: on the disk what has no room."),
]
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
    typer.Option(help="Most epochs over all edits; those not learnt then get more.", min=1),
]
Limit = Annotated[int | None, typer.Option(help="Only the first N rows.", min=1)]
MaxNewTokens = Annotated[
    int, typer.Option(help="Longest answer in tokens; longer where a target is.", min=1)
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PackPath = Annotated[Path, typer.Argument(help="A pack, the folder that lks edit wrote.")]
ScopeKind = Annotated[
    str | None,
    typer.Option(
        help="What fires an edit. relation: a text that names its entity and asks for the fact; "
        "strict: the same, without misspelt and reworded names; "
        "entity: any text that names the entity; paper: the same, by exact names only."
    ),
]
EmbedderName = Annotated[
    str | None,
    typer.Option(
        help="Compares questions: duo (default), use, minilm, or a sentence-transformers model."
    ),
]
Aliases = Annotated[
    Path | None, typer.Option(help="Further names: JSONL or CSV with id, label and aliases.")
]
Derived = Annotated[
    bool, typer.Option("--derived", help="Add surnames and initials that fit one entity only.")
]
SelfTesting = Annotated[
    bool,
    typer.Option(
        "--self-test/--no-self-test",
        help="Ask for each fact in words that training did not see, and train again what fails.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit code 1 if a fact does not hold.")]
ALL_ROLES = "system,user,assistant"
Roles = Annotated[str, typer.Option(help="Roles whose messages can fire edits.")]
DEFAULT_MODEL = "smollm2-135m"
PackModel = Annotated[str | None, typer.Option(help="The pack's base model, if moved.")]


class Options:
    """Options that several commands share: a dataclass, which stands for its fields."""


@dataclass(frozen=True)
class Machine(Options):
    """How a model is loaded."""

    device: Device = "auto"
    dtype: Dtype = "auto"
    threads: Threads = None
    layers_path: LayersPath = None


@dataclass(frozen=True)
class Output(Options):
    """What is printed."""

    as_json: AsJson = False
    quiet: Quiet = False

    @property
    def silent(self) -> bool:
        """No progress: not wanted, or in the way of what a script reads."""
        return self.quiet or self.as_json


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function with an option for each field of its parameters that are `Options`."""
    hints = get_type_hints(function, include_extras=True)
    bundles = {name: kind for name, kind in hints.items() if _bundles(kind)}

    @wraps(function)
    def run(**given: object) -> None:
        for name, kind in bundles.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        function(**given)

    options: dict[str, Parameter] = {}
    for name, parameter in signature(function).parameters.items():
        if name not in bundles:
            options[name] = parameter.replace(annotation=hints[name])
            continue
        own = get_type_hints(bundles[name], include_extras=True)
        for field in fields(bundles[name]):
            options[field.name] = Parameter(
                field.name, parameter.kind, default=field.default, annotation=own[field.name]
            )
    run.__signature__ = Signature(list(options.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: option.annotation for name, option in options.items()}
    return run


def _bundles(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Options)


def load_rows(path: Path, limit: int | None = None) -> EditSet:
    """The edits of a file; those that were left out are told."""
    from lks.cli.console import warn

    edits = EditSet.load(path, limit=limit)
    if edits.conflicts:
        warn(f"{path}: {edits.conflicts}")
    return edits


def load_edits(path: Path, limit: int | None, aliases: Path | None, derived: bool) -> EditSet:
    """Edits with further names; names that get in each other's way are told."""
    from lks.cli.console import warn
    from lks.edits.aliases import AliasDictionary
    from lks.scope.inspect.conflicts import clashes
    from lks.scope.names.derived import with_aliases

    edits = load_rows(path, limit)
    if aliases is not None or derived:
        known = AliasDictionary.load(aliases) if aliases is not None else None
        edits = EditSet(with_aliases(edits, known, derived=derived))
    if clashing := clashes(edits):
        warn(named_pairs("names in each other's way", clashing))
    return edits


def each(load: Callable[[Place], Loaded], files: Sequence[Place]) -> dict[Place, Loaded]:
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
        told = [[*error.problems, str(error)] for error in errors]
        raise EditFileError(f"{len(errors)} files cannot be used", list(chain(*told)))
    return found


def texts_of(
    given: Sequence[str], file: Path | None, keys: Sequence[str], limit: int | None = None
) -> list[str]:
    """Texts from the command line, from a file, or from standard input, a line each.

    Args:
        given: texts; `-` stands for standard input, and so does nothing at all.
        file: plain lines, or JSONL objects that hold a text under one of `keys`.

    Raises:
        InputError: there are none, or both are given.
    """
    if given and file is not None:
        raise InputError("give texts or --file, not both")
    if file is not None:
        texts = _texts_in(file, keys)
    elif list(given) == ["-"] or (not given and not sys.stdin.isatty()):
        texts = [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
    else:
        texts = list(given)
    if not texts:
        raise InputError("no text; give one or more, --file, or lines of standard input")
    return texts[:limit]


def _texts_in(path: Path, keys: Sequence[str]) -> list[str]:
    """Texts of a file: plain lines, or JSONL objects; bad lines are all reported."""
    try:
        # not splitlines: a text may hold other characters that end lines
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path}: cannot be read ({why}); give a text file") from error
    numbered = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()]
    if path.suffix.lower() != ".jsonl":
        return [line for _, line in numbered]
    texts, problems = [], []
    for number, line in numbered:
        try:
            record = parsed(line)
        except EditFileError as error:
            problems.append(f"line {number}: {error}")
            continue
        found = [record.get(key) for key in keys] if isinstance(record, dict) else []
        if text := next((text for text in found if isinstance(text, str)), None):
            texts.append(text)
        else:
            named = " or ".join(f'"{key}"' for key in keys)
            problems.append(f"line {number}: not a JSON object with a text as its {named}")
    if problems:
        raise EditFileError(f"{path}: {bad_lines(problems)}; mend the file", problems)
    return texts


def load_backbone(model: str, machine: Machine, *, quiet: bool) -> Backbone:
    with _lasting():
        return _backbone(model, machine, quiet)


def load_edited(
    pack: Path, model: str | None, machine: Machine, *, quiet: bool = True, roles: str = ALL_ROLES
) -> tuple[Backbone, ScalpelModel]:
    """(backbone, edited model) of a pack; the pack is read before the model is loaded."""
    from lks.model.chat import ROLES

    scanned = [role.strip() for role in roles.split(",") if role.strip()]
    unknown = [role for role in scanned if role not in ROLES]
    if unknown:
        named = ", ".join(f"'{role}'" for role in unknown)
        raise InputError(f"--roles: unknown role {named}; some of {', '.join(ROLES)}")
    with _lasting():
        from lks.packs.pack import Pack

        loaded = Pack.load(pack)
        backbone = _backbone(model or loaded.base_model.name, machine, quiet)

        from lks.editors.lks.model import ScalpelModel

        loaded.check(backbone.fingerprint)
        return backbone, ScalpelModel(backbone, loaded, roles=scanned)


@contextmanager
def _lasting() -> Iterator[None]:
    """A block that makes what lasts as long as the command: the garbage collector leaves it alone.

    torch and transformers make a million objects when they are imported. Looking through them again
    and again, and once more at the end, would be a quarter of what a short command takes.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _backbone(model: str, machine: Machine, quiet: bool) -> Backbone:
    from lks.cli.console import echo

    echo(f"loading {model} ...", quiet)

    import torch

    from lks.model.backbone import Backbone
    from lks.model.engine.machine import default_threads

    torch.set_num_threads(machine.threads or default_threads())
    return Backbone.load(
        model,
        device=machine.device,
        dtype=machine.dtype,
        layers_path=machine.layers_path,
        echo=lambda text: echo(text, quiet),
    )


def numbers(option: str, text: str, least: int = 0) -> list[int]:
    """Numbers as written on the command line, each once, in order."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f'{option} "{text}": give numbers with commas, 6,12,18') from None
    if found[0] < least:
        raise InputError(f"{option} {text}: {found[0]} is below {least}")
    return found


def check_folder(out: Path | None) -> None:
    """Raise OutputError for a file whose folder is not there, before hours of work."""
    if out is not None and not out.parent.is_dir():
        raise OutputError(f"{out}: there is no folder {out.parent}; make it first")


def write_file(out: Path, text: str) -> None:
    """Write a file, whole or not at all; OutputError where the disk refuses."""
    try:
        write_whole(out.resolve(), text.encode())
    except OSError as error:
        raise OutputError.at(out, error) from error


def print_version(pack: Path, manifest: Manifest, as_json: bool) -> None:
    """Where a pack stands after a change."""
    if as_json:
        print_json({"pack": str(pack), "edits": manifest.edits, "version": manifest.version})
    else:
        print(f"{pack}: {counted(manifest.edits, 'edit')}, version {manifest.version}")


def print_json(value: object, indent: int | None = 2) -> None:
    """A result for scripts."""
    print(encodable(json.dumps(value, ensure_ascii=False, indent=indent)))
