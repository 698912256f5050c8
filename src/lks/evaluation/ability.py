"""General abilities with edits loaded: standard tasks, few-shot, beside the unedited model.

A task is a JSONL file whose name says which: sst2, cola, rte, mrpc (GLUE), mmlu, gsm8k_test. The
first rows are demonstrations and are not scored; gsm8k takes them from gsm8k_fewshot.jsonl, if that
lies beside it. Of several choices the likelier continuation is the answer; gsm8k is written.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lks.editors.protocol import EditedModel
from lks.edits.jsonl import bad_lines
from lks.errors import EditFileError, InputError
from lks.evaluation.results import TaskScores
from lks.json_record import JsonObject

LETTERS = "ABCD"
Row = JsonObject  # of a task's file, by its own keys
WRITTEN_TOKENS = 160
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Item:
    """One question; `choices` are its possible continuations, none where the answer is written."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A task's demonstrations and the items to score."""

    name: str
    shots: tuple[Item, ...]
    items: tuple[Item, ...]

    def prompt(self, item: Item) -> str:
        """The demonstrations and then the question."""
        shown = [f"{shot.question} {shot.answer}" for shot in self.shots]
        return "\n\n".join([*shown, item.question])


@dataclass(frozen=True)
class _Kind:
    shots: int
    item: Callable[[Row], Item]


def _labelled(question: str, words: Sequence[str]) -> Callable[[Row], Item]:
    return lambda row: Item(question.format(**row), _pick(words, row, "label"), tuple(words))


def _pick(words: Sequence[str], row: Row, key: str) -> str:
    """The word that the row's number stands for."""
    if row[key] not in range(len(words)):
        raise ValueError(f'"{key}" is {row[key]!r}, not one of 0 to {len(words) - 1}')
    return words[row[key]]


def _mmlu(row: Row) -> Item:
    if len(row["choices"]) != len(LETTERS):
        raise ValueError(f"{len(row['choices'])} choices, not {len(LETTERS)}")
    choices = "\n".join(f"{a}. {text}" for a, text in zip(LETTERS, row["choices"], strict=True))
    question = f"Question: {row['question']}\n{choices}\nAnswer:"
    return Item(question, _pick(LETTERS, row, "answer"), tuple(LETTERS))


def _gsm8k(row: Row) -> Item:
    return Item(f"Question: {row['question']}\nAnswer:", re.sub(r"<<.*?>>", "", row["answer"]))


RTE = "{sentence1}\nQuestion: {sentence2} True or False?\nAnswer:"
MRPC = "First: {sentence1}\nSecond: {sentence2}\nThe same meaning:"
KINDS = {
    "sst2": _Kind(8, _labelled("Review: {sentence}\nSentiment:", ("negative", "positive"))),
    "cola": _Kind(8, _labelled("Sentence: {sentence}\nGrammatical:", ("no", "yes"))),
    "rte": _Kind(4, _labelled(RTE, ("True", "False"))),
    "mrpc": _Kind(4, _labelled(MRPC, ("no", "yes"))),
    "mmlu": _Kind(4, _mmlu),
    "gsm8k_test": _Kind(4, _gsm8k),
}
GSM8K_SHOTS = "gsm8k_fewshot.jsonl"


def load(path: str | Path, *, limit: int = 100) -> Task:
    """The task in a file, with its first `limit` items.

    Raises:
        InputError: the name is no task's, or the file cannot be read.
        EditFileError: bad lines, all of them.
    """
    path = Path(path)
    if path.stem not in KINDS:
        near = difflib.get_close_matches(path.stem, KINDS, n=1) or sorted(KINDS)
        raise InputError(f"{path}: no task of this name; name the file {' or '.join(near)}.jsonl")
    kind, beside = KINDS[path.stem], path.with_name(GSM8K_SHOTS)
    items = _items(path, kind)
    shots = items[: kind.shots]
    if path.stem == "gsm8k_test" and beside.exists():
        shots = _items(beside, kind)[: kind.shots]
    else:
        items = items[kind.shots :]
    if not items:
        raise InputError(
            f"{path}: nothing to score; the first {kind.shots} rows are shown as examples"
        )
    return Task(path.stem, tuple(shots), tuple(items[:limit]))


def _items(path: Path, kind: _Kind) -> list[Item]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a JSONL file") from error
    items, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            items.append(kind.item(json.loads(line)))
        except KeyError as error:
            problems.append(f"line {number}: {error.args[0]!r} is missing")
        except (ValueError, TypeError) as error:
            problems.append(f"line {number}: not a row of this task ({error})")
    if problems:
        raise EditFileError(f"{path}: {bad_lines(problems)}; mend the file", problems)
    return items


@dataclass(frozen=True)
class Answers:
    """What a model answers: the texts chosen or written, and the scores behind each choice."""

    given: list[str]
    scores: list[tuple[float, ...]]


def answer(model: EditedModel, task: Task) -> Answers:
    """A model's answers to all items of a task."""
    prompts = [task.prompt(item) for item in task.items]
    if not task.items[0].choices:
        return Answers(model.generate(prompts, max_new_tokens=WRITTEN_TOKENS), [])
    pairs = [
        (prompt, choice)
        for prompt, item in zip(prompts, task.items, strict=True)
        for choice in item.choices
    ]
    found = iter(model.score(pairs))
    scores = [tuple(sum(next(found).logprobs) for _ in item.choices) for item in task.items]
    best = [own.index(max(own)) for own in scores]
    return Answers([i.choices[k] for i, k in zip(task.items, best, strict=True)], scores)


def right(item: Item, given: str) -> bool:
    """Whether an answer is right; of a written one its last number before the next question."""
    return given == item.answer if item.choices else _result(given) == _result(item.answer)


def _result(text: str) -> float | None:
    text = text.split("\n\n")[0].split("Question:")[0]
    stated = text.split("####")
    found = _NUMBER.findall(stated[1].split("\n")[0] if len(stated) > 1 else text)
    return float(found[-1].replace(",", "")) if found else None


def compare(base: EditedModel, edited: EditedModel, task: Task) -> TaskScores:
    """Shares of right answers before and after, the trigger rate, and what changed unfired."""
    was, now = answer(base, task), answer(edited, task)
    fired = edited.triggered([task.prompt(item) for item in task.items])
    n = len(task.items)
    same = [
        was.given[i] == now.given[i] and was.scores[i : i + 1] == now.scores[i : i + 1]
        for i in range(n)
    ]

    def share(answers: Answers) -> float:
        pairs = zip(task.items, answers.given, strict=True)
        return round(sum(right(item, given) for item, given in pairs) / n, 4)

    return TaskScores(
        task=task.name,
        n=n,
        shots=len(task.shots),
        before=share(was),
        after=share(now),
        fired=round(sum(fired) / n, 4),
        changed_unfired=sum(not f and not s for f, s in zip(fired, same, strict=True)),
    )
