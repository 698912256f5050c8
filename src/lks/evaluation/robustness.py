"""Questions that are hard for edited models, made from any set of edits.

| kind | what is asked | right is |
|---|---|---|
| unrelated text before | the prompt, after 50 words on other things | the target |
| second turn | the prompt in a chat, then "Are you sure?" | the target |
| misspelling | the prompt, the subject with two letters swapped | the target |
| alias | the prompt, the subject by another name | the target |
| lower case | the prompt without capitals | the target |
| yes | whether the fact is true | "yes" |
| no | whether what was true before is true | "no" |
| negated | what the subject is *not*: the prompt and "not" | any text without the target |
| several facts | the prompt, of subjects with more edits than one | the target |
| second fact | the prompt in a chat, after another edit of the same subject | the target |
| two entities | the prompt, after another edit's fact | the target |

An answer is right if it states the target somewhere, since these forms invite longer answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lks.editors.protocol import EditedModel
from lks.edits.edit import Edit
from lks.edits.profiles import by_entity, statement
from lks.edits.text import entity_key, same_wording
from lks.evaluation.metrics import contains
from lks.evaluation.results import AnsweredCase, HardScores
from lks.model.chat import Message, Prompt

UNRELATED = (
    "The kettle had been on the stove for a while when the rain began to fall on the garden.",
    "Nobody had mended the fence, so the goats walked in and out as they liked.",
    "Bread takes longer in winter, and the dough should rest near something warm.",
    "She put the umbrella beside the door and looked for a dry pair of shoes.",
    "On the table lay a bowl of apples, two pencils and a map with a torn corner.",
    "The ferry leaves every hour, except on holidays, when there are only three.",
    "Most of the shelves were empty, but the upper one was full of old newspapers.",
)
WORDS_BEFORE = 50
SURE = "Are you sure?"
SHORTEST_MISSPELT = 6  # letters; shorter names are matched as written


@dataclass(frozen=True)
class Case:
    """One question; `turns` are asked one after the other, each with the answers before it.

    `want` is "target", "without" (it), "yes" or "no".
    """

    kind: str
    edit_id: str
    turns: tuple[str, ...]
    target: str
    want: str = "target"


def cases(edits: Sequence[Edit], *, limit: int = 50, seed: int = 0) -> list[Case]:
    """At most `limit` questions of each kind that the edits allow."""
    made: dict[str, list[Case]] = {}
    of_subject = by_entity(edits)
    for number, edit in enumerate(edits):
        rng = random.Random(f"{seed} {edit.id}")
        other = edits[(number + 1) % len(edits)]
        own = of_subject[entity_key(edit.subject)]
        sibling = own[(own.index(edit) + 1) % len(own)]
        for case in _of(edit, other, sibling if len(own) > 1 else None, rng=rng):
            made.setdefault(case.kind, []).append(case)
    return [case for own in made.values() for case in own[:limit]]


def _of(edit: Edit, other: Edit, sibling: Edit | None, *, rng: random.Random) -> Iterator[Case]:
    """`other` edits something else, `sibling` the same subject."""
    prompt = edit.prompt

    def asked(kind: str, *turns: str, want: str = "target") -> Case:
        return Case(kind, edit.id, turns, edit.target, want)

    yield asked("unrelated text before", f"{_unrelated(rng)} {prompt}")
    yield asked("second turn", prompt, SURE)
    wrong = _misspelt(edit.subject, rng)
    if wrong and edit.subject in prompt:
        yield asked("misspelling", prompt.replace(edit.subject, wrong))
    if edit.aliases and edit.subject in prompt:
        yield asked("alias", prompt.replace(edit.subject, edit.aliases[0]))
    if prompt != prompt.lower():
        yield asked("lower case", prompt.lower())
    if not prompt.rstrip().endswith(("?", ":", ".")):
        yield asked("yes", f"Is this true? {prompt} {edit.target}.", want="yes")
        if edit.ground_truth:
            yield asked("no", f"Is this true? {prompt} {edit.ground_truth}.", want="no")
        yield asked("negated", f"{prompt} not", want="without")
    if sibling:
        yield asked("several facts", prompt)
        yield asked("second fact", sibling.prompt, prompt)
    if entity_key(other.subject) != entity_key(edit.subject) and other.target != edit.target:
        yield asked("two entities", f"{statement(other)} {prompt}")


def _unrelated(rng: random.Random) -> str:
    """About `WORDS_BEFORE` words."""
    chosen: list[str] = []
    for sentence in rng.sample(UNRELATED, len(UNRELATED)):
        chosen.append(sentence)
        if sum(len(text.split()) for text in chosen) >= WORDS_BEFORE:
            break
    return " ".join(chosen)


def _misspelt(name: str, rng: random.Random) -> str | None:
    """The name with two neighbouring letters swapped, inside its longest word."""
    word = max(name.split(), key=len)
    places = [
        i
        for i in range(1, len(word) - 2)
        if word[i : i + 2].isalpha() and word[i].lower() != word[i + 1].lower()
    ]
    if len(name) < SHORTEST_MISSPELT or not places:
        return None
    i = rng.choice(places)
    return name.replace(word, word[:i] + word[i + 1] + word[i] + word[i + 2 :], 1)


def right(case: Case, text: str) -> bool:
    """Whether an answer to the last turn is right."""
    if case.want in ("yes", "no"):
        return same_wording(text).split()[:1] == [case.want]
    return contains(text, case.target) == (case.want == "target")


def compare(
    base: EditedModel,
    edited: EditedModel,
    asked: Sequence[Case],
    *,
    chat: bool = False,
    max_new_tokens: int = 32,
) -> list[HardScores]:
    """Scores of each kind of questions, with every question and its answers.

    Args:
        chat: ask everything through the chat template, as a second turn always is; without one,
            second turns are left out by the caller.
    """
    was, _ = _answers(base, asked, chat, max_new_tokens)
    now, last = _answers(edited, asked, chat, max_new_tokens)
    fired = edited.triggered(last)
    rows = []
    for kind in dict.fromkeys(case.kind for case in asked):
        own = [i for i, case in enumerate(asked) if case.kind == kind]
        answered = tuple(
            AnsweredCase(last[i], asked[i].target, was[i], now[i], right(asked[i], now[i]))
            for i in own
        )
        rows.append(
            HardScores(
                kind=kind,
                n=len(own),
                before=sum(right(asked[i], was[i]) for i in own) / len(own),
                after=sum(case.right for case in answered) / len(own),
                fired=sum(fired[i] for i in own) / len(own),
                cases=answered,
            )
        )
    return rows


def _answers(
    model: EditedModel, asked: Sequence[Case], chat: bool, max_new_tokens: int
) -> tuple[list[str], list[Prompt]]:
    """Answers to the last turns, and what was read for them."""
    texts, prompts = [""] * len(asked), list[Prompt]([""] * len(asked))
    for several in (False, True):
        own = [i for i, case in enumerate(asked) if (len(case.turns) > 1) == several]
        if not own:
            continue
        talks: list[list[Message]] = [[] for _ in own]
        read: list[Prompt] = []
        for turn in range(max(len(asked[i].turns) for i in own)):
            for talk, i in zip(talks, own, strict=True):
                talk.append({"role": "user", "content": asked[i].turns[turn]})
            read = [list(t) for t in talks] if several else [asked[i].turns[0] for i in own]
            written = model.generate(read, chat=chat or several, max_new_tokens=max_new_tokens)
            for talk, text in zip(talks, written, strict=True):
                talk.append({"role": "assistant", "content": text})
        for i, text, prompt in zip(own, written, read, strict=True):
            texts[i], prompts[i] = text, prompt
    return texts, prompts
