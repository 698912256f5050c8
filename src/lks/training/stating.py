"""Facts in other forms, which the model itself writes: a statement, a question, a clause.

What it writes is kept only if it names the entity, and the target where that belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from lks.edits.edit import Edit
from lks.edits.text import same_text
from lks.model.backbone import Backbone
from lks.model.chat import Message, Prompt
from lks.model.engine import transformers
from lks.training.presence import Stated

LONGEST, BATCH = 96, 32  # tokens of an answer, and answers at once
FORMS = ("Statement", "Question", "Clause", "Others")
REQUEST = (
    "Write the fact as a full statement, then as a yes-or-no question, then the clause that stands "
    "for the answer, without the answer, and three other answers that it might have had.\n"
    "Fact: {} {}"
)
EXAMPLES = (
    (
        "Who runs Zentec these days?", "Maria Lind",
        "Zentec is run by Maria Lind.", "Is Zentec run by Maria Lind?",
        "the person who runs Zentec", "Paul Okafor; Ines Weber; Tom Hale",
    ),
    (
        "Otto Brand was born in", "Graz",
        "Otto Brand was born in Graz.", "Was Otto Brand born in Graz?",
        "the place where Otto Brand was born", "Vienna; Lyon; Boston",
    ),
    (
        "What does Kettle 3 cost?", "49 euros",
        "Kettle 3 costs 49 euros.", "Does Kettle 3 cost 49 euros?", "the price of Kettle 3",
        "39 euros; 55 euros; 120 euros",
    ),
)  # fmt: skip


def stated(backbone: Backbone, edits: Sequence[Edit]) -> list[Stated]:
    """Each fact in these forms; where the model writes something else, as far as can be told."""
    texts = written(backbone, [_request(edit) for edit in edits], LONGEST)
    return [_read(edit, text) for edit, text in zip(edits, texts, strict=True)]


def written(backbone: Backbone, chats: Sequence[Prompt], most: int) -> list[str]:
    """What the unedited model answers, at most so many tokens of it."""
    found = transformers.generate(
        backbone,
        chats,
        lambda encoding: nullcontext(),
        chat=True,
        max_new_tokens=most,
        batch_size=BATCH,
    )
    return [one.text for one in found]


def _request(edit: Edit) -> list[Message]:
    turns: list[Message] = []
    for prompt, target, *told in EXAMPLES:
        answer = "\n".join(f"{form}: {text}" for form, text in zip(FORMS, told, strict=True))
        turns.append({"role": "user", "content": REQUEST.format(prompt, target)})
        turns.append({"role": "assistant", "content": answer})
    turns.append({"role": "user", "content": REQUEST.format(edit.prompt.strip(), edit.target)})
    return turns


def _read(edit: Edit, text: str) -> Stated:
    """What was written in each form, or what the edit's own words make of it."""
    found = dict(line.partition(": ")[::2] for line in text.splitlines())
    subject, target = edit.subject, edit.target.strip()
    made = f"{edit.prompt.strip()} {target}"
    if edit.prompt.rstrip().endswith("?"):
        made = f'the answer to "{edit.prompt.strip()}" is {target}'
    given = [(text or "").strip() for text in (edit.statement, found.get(FORMS[0]))]
    statement = next((text for text in given if subject in text and target in text), made)
    question = found.get(FORMS[1], "").partition("?")[0].strip() + "?"
    if not (subject in question and target in question):
        question = f"Is it true that {statement.rstrip('.')}?"
    clause = found.get(FORMS[2], "").strip().rstrip(".")
    if subject not in clause or same_text(target) in same_text(clause):
        clause = ""
    others = [value.strip(" .") for value in found.get(FORMS[3], "").split(";")]
    wrong = [v for v in others if v and unlike(v, target) and unlike(v, subject)]
    return Stated(statement, question, clause, tuple(dict.fromkeys(wrong)))


def unlike(text: str, other: str) -> bool:
    """Whether neither of two texts holds the other."""
    one, two = same_text(text), same_text(other)
    return one not in two and two not in one
