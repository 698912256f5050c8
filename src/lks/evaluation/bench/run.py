"""Making a table of editors on data sets, one cell after the other, by one protocol.

A cell runs in a process of its own, so that its peak memory is its own. A table that was stopped
goes on with the cells that have no summary.

Every method gets the same edits with the same training wordings, lent by the whole file; the gate
of LKS and inject other questions too, for which the other editors have no use.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from lks.editors.protocol import (
    Decides,
    EditedModel,
    EditingCost,
    Editor,
    Prepares,
    Surroundings,
    TellsCost,
    UsesSurroundings,
)
from lks.editors.registry import editor, source
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.edits.text import counted
from lks.errors import InputError, LKSError, OutputError
from lks.evaluation import ability
from lks.evaluation.bench.cached_base import CachedBase
from lks.evaluation.bench.cells import check_folder, hashed, made
from lks.evaluation.provenance import provenance
from lks.evaluation.results import Cell, CellResult, FailedCell, Result, TaskScores
from lks.evaluation.runner import Evaluation, answer_limit, evaluate, fluency
from lks.files import write_whole
from lks.model.backbone import Backbone
from lks.model.engine.machine import default_threads, peak_memory
from lks.training.config import TrainingConfig
from lks.training.prompts import with_lent_paraphrases
from lks.training.train_pack import scope_of

PROMPTS_TIMED, TOKENS_TIMED, PROMPTS_COUNTED = 4, 16, 16
FLUENCY_EDITS = 32  # subjects to write about, of the first set of edits
UNEDITED = "unedited.cache"  # beside the cells: what the unedited model wrote
SAMPLES, SAMPLE = 64, 4096  # parts of a weight file that are read, and their bytes
PROBLEMS = 3  # of a file that are told with a cell's failure


def run(
    cells: Sequence[Cell],
    out: Path,
    on_cell: Callable[[str, int, int, float | None], None],
    on_start: Callable[[str], None] = lambda name: None,
) -> list[Result]:
    """Results of all cells; `on_cell` is told (name, done, of, seconds left, if that can be said)
    after each, `on_start` the name before one that is to be made.

    A cell that fails leaves no result in the folder, and is tried again by the next run.

    Raises:
        OutputError: the folder cannot be written.
        InputError: it holds a cell that is damaged or was made with other settings, data, another
            model or editor, or two data files have one name.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.at(out, error) from error
    files = {Path(cell.data).stem: cell.data for cell in cells}
    if other := next((c.data for c in cells if files[Path(c.data).stem] != c.data), None):
        raise InputError(f"{other}: {files[Path(other).stem]} has the same name; rename one")
    content = contents(cells)
    check_folder(cells, out)  # this and what follows before any work
    for cell in cells:
        made(cell, out, content)
    results: list[Result] = []
    for number, cell in enumerate(cells, start=1):
        file = out / f"{cell.name}.json"
        there, failure = file.exists(), None
        if not there:
            on_start(cell.name)
            failure = _run_alone(cell, out)
        failed = FailedCell(cell.named(), failure or "it left no result")
        results.append(made(cell, out, content) or failed)
        name = f"{cell.name} (made earlier)" if there else cell.name
        on_cell(name, number, len(cells), seconds_left(results, cells[number:]))
    return results


def contents(cells: Sequence[Cell]) -> dict[str, str]:
    """Hashes of what cells are made of: the files that they read, models in folders, and editors
    of the user's own."""
    files = {file: hashed(file) for cell in cells for file in (cell.data, *cell.abilities)}
    models = {cell.model: _sampled(Path(cell.model)) for cell in cells}
    return files | models | {cell.method: hashed(source(cell.method) or "") for cell in cells}


def _sampled(folder: Path) -> str:
    """Of a model's folder, large files by parts of them; of none nothing: it has a name."""
    if not folder.is_dir():
        return ""
    whole = hashlib.sha256()
    for file in sorted(filter(Path.is_file, folder.iterdir())):
        size = file.stat().st_size
        whole.update(f"{file.name} {size}".encode())
        with file.open("rb") as stream:
            for part in range(SAMPLES):
                stream.seek(part * size // SAMPLES)
                whole.update(stream.read(SAMPLE))
    return whole.hexdigest()


def _run_alone(cell: Cell, out: Path) -> str | None:
    """Make a cell in a process that has nothing yet; what went wrong, if something did."""
    spawn, lock = multiprocessing.get_context("spawn"), out / f".{cell.name}.lock"
    try:
        with (
            FileLock(lock, timeout=0),
            ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with_parent) as alone,
        ):
            failure = alone.submit(_attempt, cell, out).result()
            with suppress(OSError):  # some systems hold it fast
                lock.unlink()
            return failure
    except Timeout:
        return "another process is making it"
    except BrokenProcessPool:
        return "its process was killed, perhaps because memory ran out"


def _attempt(cell: Cell, out: Path) -> str | None:
    """Make a cell; what went wrong, and where if it is no error that is raised on purpose."""
    try:
        run_cell(cell, out)
    except Exception as error:  # the other cells shall be made
        told = f"{type(error).__name__}: {error}"
        if isinstance(error, LKSError):
            return "; ".join([told, *error.problems[:PROBLEMS]])
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f'{told} (File "{last.filename}", line {last.lineno}, in {last.name})'
    return None


def end_with_parent() -> None:
    """Let this process end when the one that started it does, even if that is killed."""

    def wait() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def seconds_left(results: Sequence[Result], cells: Sequence[Cell]) -> float | None:
    """What the cells to come will take: by method as the largest done, else as the mean, scaled;
    None if none is done."""

    def expected(cell: Cell) -> float:
        own = [result for result in done if result.cell.method == cell.method]
        known = max(own, key=lambda result: result.cell.size) if own else None
        if known is None:
            return statistics.fmean(result.seconds for result in done)
        an_edit = known.edit_seconds / known.cell.size
        rest = known.seconds - known.edit_seconds * known.groups
        return rest + an_edit * cell.size * cell.sets

    done = [result for result in results if isinstance(result, CellResult)]
    return sum(map(expected, cells)) if done or not cells else None


def run_cell(cell: Cell, out: Path) -> None:
    """Make one cell and write its files."""
    started = time.monotonic()
    torch.set_num_threads(cell.threads or default_threads())
    content = contents([cell])
    backbone = Backbone.load(
        cell.model, device=cell.device, dtype=cell.dtype, layers_path=cell.layers_path
    )
    unedited = CachedBase(backbone, out / UNEDITED)
    plain, chat = (Evaluation(style, 0, []) for style in (False, True))
    edit_seconds, stored, peak, costs, tokens_more = 0.0, 0, 0, (1.0, 1.0), 0.0
    abilities, settings = list[TaskScores](), dict[str, object]()
    groups = list(groups_of(cell))
    for number, (edits, pool) in enumerate(groups):
        method = editor_of(cell, pool, out, number)
        if isinstance(method, Prepares):
            method.prepare(backbone)
        begun = time.monotonic()
        with method.apply(backbone, edits) as model:
            cost = _editing_cost(model, time.monotonic() - begun)
            edit_seconds, peak = edit_seconds + cost.seconds, max(peak, cost.peak_memory_bytes)
            stored += model.stored_bytes()
            for evaluation, rows in ((plain, cell.rows), (chat, cell.chat_rows)):
                rows = -(-rows // len(groups))
                _score(cell, unedited, model, edits[:rows], evaluation)
            if not number:
                plain.fluency = fluency(unedited, model, edits[:FLUENCY_EDITS])
                settings = _settings(method, model)
                costs = _costs(backbone, model, edits)
                tokens_more = _tokens_more(backbone, model, edits)
                abilities = _abilities(cell, unedited, model)
    count = cell.size * len(groups)
    result = CellResult(
        cell=cell.named(),
        data_sha256=content[cell.data],
        ability_sha256=tuple(content[file] for file in cell.abilities),
        model_sha256=content[cell.model],
        editor_sha256=content[cell.method],
        groups=len(groups),
        plain=plain.summary(),
        chat=chat.summary() if chat.probes else None,
        abilities=tuple(abilities),
        edit_seconds=round(edit_seconds / len(groups), 3),
        edit_seconds_each=round(edit_seconds / count, 4),
        stored_bytes_each=round(stored / count),
        peak_memory_bytes=max(peak, peak_memory()),
        first_token_ratio=costs[0],
        next_token_ratio=costs[1],
        tokens_more=tokens_more,
        settings=settings,
        seconds=round(time.monotonic() - started, 1),
        **provenance(),
    )
    _write(out, result, (plain, chat))


def _write(out: Path, result: CellResult, evaluations: Iterable[Evaluation]) -> None:
    """The cases of a cell, a line each, and then its result."""
    name = result.cell.name
    with (out / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
        for evaluation in evaluations:
            for probe in evaluation.probes:
                row = {"chat": evaluation.chat, **asdict(probe)}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    told = json.dumps(result.to_json(), indent=2) + "\n"
    write_whole(out / f"{name}.json", told.encode())


def groups_of(cell: Cell) -> Iterator[tuple[EditSet, EditSet]]:
    """Sets of edits to be in force together, and the rows that lend templates."""
    pool = EditSet.load(cell.data)
    order = list(pool)
    if cell.size > len(order):
        raise InputError(f"{cell.data}: {counted(cell.size, 'edit')} wanted, {len(order)} there")
    random.Random(cell.seed).shuffle(order)
    for number in range(cell.sets):
        chosen = order[number * cell.size : (number + 1) * cell.size]
        if len(chosen) == cell.size:
            wordings = TrainingConfig().for_edits(len(chosen)).wordings
            yield with_lent_paraphrases(chosen, pool, most=wordings, seed=cell.seed), pool


def editor_of(cell: Cell, pool: EditSet, out: Path, number: int) -> Editor:
    """A cell's editor as the table has it; what it trains is kept in `out`."""
    found = editor(cell.method)
    if not isinstance(found, UsesSurroundings):
        return found
    config = TrainingConfig(seed=cell.seed)
    around = Surroundings(
        pool=pool,
        seed=cell.seed,
        kept=out / "packs" / f"{cell.name}-{number}",
        scope_of=lambda edits: scope_of(EditSet(edits), pool, config),
    )
    return found.for_comparison(around)


def _settings(method: Editor, model: EditedModel) -> dict[str, object]:
    """What was settable: an editor's public attributes, and what came of them."""
    own = vars(method) if hasattr(method, "__dict__") else {}
    public = {name: value for name, value in own.items() if name[0] != "_"}
    public |= model.decided if isinstance(model, Decides) else {}
    plain = {
        k: asdict(v) if is_dataclass(v) and not isinstance(v, type) else v
        for k, v in public.items()
    }
    return {k: v for k, v in plain.items() if _fits_json(v)}


def _fits_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False  # no setting: a function, a tensor
    return True


def _editing_cost(model: EditedModel, seconds: float) -> EditingCost:
    """What editing took, now or earlier: a pack may be there, a training have been stopped."""
    return model.editing_cost(seconds) if isinstance(model, TellsCost) else EditingCost(seconds)


def _score(
    cell: Cell, unedited: UneditedModel, model: EditedModel, edits: EditSet, into: Evaluation
) -> None:
    backbone = unedited.backbone
    if into.chat and not backbone.has_chat:
        return
    most = answer_limit(backbone, edits, cell.max_new_tokens)
    part = evaluate(unedited, model, edits, chat=into.chat, max_new_tokens=most, fluency_edits=0)
    into.probes += part.probes
    into.edits += part.edits


def _abilities(cell: Cell, unedited: UneditedModel, model: EditedModel) -> list[TaskScores]:
    tasks = (ability.load(file, limit=cell.ability_rows) for file in cell.abilities)
    return [ability.compare(unedited, model, task) for task in tasks]


def _costs(backbone: Backbone, model: EditedModel, edits: EditSet) -> tuple[float, float]:
    """Time to the first token and for each further one, edited over unedited, in one run."""
    prompts = [edit.prompt for edit in edits[:PROMPTS_TIMED]]

    def seconds(which: EditedModel, tokens: int) -> float:
        times = []
        for prompt in prompts:
            started = time.perf_counter()
            which.generate([prompt], max_new_tokens=tokens, min_new_tokens=tokens)
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    base, one, more = UneditedModel(backbone), [], []  # one that writes each time: it is timed
    for which in (base, model):
        seconds(which, 1)  # the first call pays for set-up
    for _ in range(3):
        a, b = seconds(base, 1), seconds(model, 1)
        c, d = seconds(base, TOKENS_TIMED), seconds(model, TOKENS_TIMED)
        one.append(b / a)
        more.append((d - b) / (c - a))
    return round(statistics.median(one), 3), round(statistics.median(more), 3)


def _tokens_more(backbone: Backbone, model: EditedModel, edits: EditSet) -> float:
    """Tokens that are read for an edit's prompt more than the unedited model reads, on average."""
    prompts = [edit.prompt for edit in edits[:PROMPTS_COUNTED]]
    read = 0

    def count(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        nonlocal read
        read += args[0].numel()

    def tokens(which: EditedModel) -> int:
        before = read
        for prompt in prompts:  # one by one: nothing is padded
            which.generate([prompt], max_new_tokens=1)
        return read - before

    hook = backbone.model.get_input_embeddings().register_forward_pre_hook(count)
    try:
        more = tokens(model) - tokens(UneditedModel(backbone))
    finally:
        hook.remove()
    return round(more / len(prompts), 2)
