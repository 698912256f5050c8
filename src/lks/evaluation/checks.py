"""The checks that facts bring themselves, run on what an edited model writes.

| kind | what is asked | passes if the answer |
|---|---|---|
| prompt, paraphrase, generality | its own wordings, held-out ones too | contains the target |
| locality | its other questions | is that of the unedited model |
| test | its `tests` | contains all that it must, and nothing that it must not |

A locality question that another fact asks in just these words is that fact's question: it is left
out. Nothing is trained here, and torch is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from lks.edits.edit import AnswerTest, Edit
from lks.edits.text import counted, same_wording
from lks.evaluation.metrics import contains, exact_match
from lks.evaluation.results import CheckedFact, FactCheck

if TYPE_CHECKING:  # they need torch
    from lks.model.chat import Prompt
    from lks.model.engine.protocol import Generation

LOCALITY = "locality"


class Asked(Protocol):
    """A model that can be asked: an `EditedModel`, or one that is served."""

    def respond(
        self, prompts: Sequence[Prompt], *, chat: bool, max_new_tokens: int
    ) -> list[Generation]: ...

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]: ...


@dataclass(frozen=True)
class _Ask:
    """One prompt of a fact; without a test its answer is to be the unedited model's."""

    edit: Edit
    kind: str
    prompt: str
    test: AnswerTest | None = None


def check_facts(
    base: Asked,
    edited: Asked,
    edits: Sequence[Edit],
    limit: Callable[[Edit], int],
    *,
    others: Iterable[Edit] = (),
    chat: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> list[FactCheck]:
    """Run the checks of edits on a model that has them in force.

    Args:
        base, edited: the unedited and the edited model.
        limit: how many tokens an answer about an edit may have.
        others: further edits in force, whose questions are their own.
        chat: ask through the chat template.

    Returns:
        The checks, in the order of the edits.
    """
    asked_by = _asked_by_others(edits, others)
    asks = [ask for edit in edits for ask in _asks(edit, asked_by)]
    changed = [ask for ask in asks if ask.test is None]
    fired = edited.triggered([ask.prompt for ask in changed], chat=chat)
    # where nothing fires, the unedited model itself writes
    untouched = {ask for ask, one in zip(changed, fired, strict=True) if not one}
    written = [ask for ask in asks if ask not in untouched]
    on_stage(f"asking {counted(len(edits), 'fact')} in {counted(len(written), 'prompt')}")
    after = _answers(edited, written, limit, chat)
    before = _answers(base, [ask for ask in written if ask.test is None], limit, chat)
    return [_judged(ask, after.get(ask), before.get(ask)) for ask in asks]


def by_fact(checks: Iterable[FactCheck]) -> list[CheckedFact]:
    """Checks in the order of their facts, as facts."""
    return [
        CheckedFact(edit_id, subject, tuple(own))
        for (edit_id, subject), own in groupby(checks, lambda check: (check.id, check.subject))
    ]


def _asked_by_others(edits: Iterable[Edit], others: Iterable[Edit]) -> dict[str, set[str]]:
    """The ids of the edits that ask in each wording."""
    found: dict[str, set[str]] = {}
    for edit in (*edits, *others):
        for text in (edit.prompt, *edit.paraphrases, *edit.generality):
            found.setdefault(same_wording(text), set()).add(edit.id)
    return found


def _asks(edit: Edit, asked_by: dict[str, set[str]]) -> Iterator[_Ask]:
    own = [("prompt", edit.prompt)]
    own += [("paraphrase", text) for text in edit.paraphrases]
    own += [("generality", text) for text in edit.generality]
    for kind, text in dict.fromkeys(own):
        yield _Ask(edit, kind, text, AnswerTest(text, (edit.target,)))
    for probe in dict.fromkeys(probe.prompt for probe in edit.locality):
        if not asked_by.get(same_wording(probe), set()) - {edit.id}:
            yield _Ask(edit, LOCALITY, probe)
    for test in dict.fromkeys(edit.tests):
        yield _Ask(edit, "test", test.prompt, test)


def _answers(
    model: Asked, asks: Sequence[_Ask], limit: Callable[[Edit], int], chat: bool
) -> dict[_Ask, Generation]:
    """What a model writes; the asks that may have as many tokens are asked together."""
    limits: dict[int, list[_Ask]] = {}
    for ask in asks:
        limits.setdefault(limit(ask.edit), []).append(ask)
    found: dict[_Ask, Generation] = {}
    for most, own in limits.items():
        prompts = [ask.prompt for ask in own]
        written = model.respond(prompts, chat=chat, max_new_tokens=most)
        found.update(zip(own, written, strict=True))
    return found


def _judged(ask: _Ask, after: Generation | None, before: Generation | None) -> FactCheck:
    answer = None if after is None else after.text
    if ask.test is None:
        old = None if before is None else before.text
        passed = answer is None or exact_match(old or "", answer)
        wanted = "unchanged" if old is None else f'unchanged: "{old}"'
    else:
        text, test = answer or "", ask.test
        passed = all(contains(text, part) for part in test.must_contain)
        passed &= not any(contains(text, part) for part in test.must_not_contain)
        wanted = _wanted(test)
    return FactCheck(
        id=ask.edit.id,
        subject=ask.edit.subject,
        kind=ask.kind,
        prompt=ask.prompt,
        wanted=wanted,
        passed=passed,
        answer=answer,
        fired=() if after is None else after.fired,
    )


def _wanted(test: AnswerTest) -> str:
    """What an answer is to contain, for people."""
    must, must_not = (
        ", ".join(f'"{part}"' for part in parts)
        for parts in (test.must_contain, test.must_not_contain)
    )
    return ", ".join(filter(None, (must and f"contains {must}", must_not and f"not {must_not}")))
