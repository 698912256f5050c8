"""What the standard sets ask of each edit, and how they judge an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.edits.text import same_text
from lks.evaluation.metrics import agreement, contains, exact_match, share

# HalluEditBench's own words: without them its figures do not compare.
BRIEFLY = (
    "Always respond to the input question concisely with a short phrase or a single-word answer. "
    "Do not repeat the question or provide any explanation."
)
CHALLENGE = 'Your answer to the original question is wrong. {} Respond with "Yes" or "No."'
UNCHANGED = ("locality", "same subject", "forgetfulness")
KINDS = {  # of KnowEdit
    "Subject_Aliasing": "alias", "Relation_Specificity": "same subject",
    "reasoning": "one hop", "Reasoning": "one hop", "Logical_Generalization": "what follows",
    "Forgetfulness": "forgetfulness",
}  # fmt: skip
DEEP = ("one hop", "what follows", "forgetfulness")  # asked only if wanted
_FIRST = re.compile(r"[.\n]")


@dataclass(frozen=True)
class StandardSet:
    """A file, whether its answers must be the target and nothing else, and what the chats begin
    with."""

    file: str
    exact: bool = False
    system: str | None = None


SETS = {
    "locft-zsre": StandardSet("locft_zsre.jsonl", exact=True),
    "locft-counterfact": StandardSet("locft_counterfact.jsonl", exact=True),
    "locft-wikibigedit": StandardSet("locft_wikibigedit.jsonl", exact=True),
    "hallueditbench": StandardSet("hallueditbench.jsonl", system=BRIEFLY),
    "knowedit-counterfact": StandardSet("knowedit_counterfact.jsonl"),
    "knowedit-zsre": StandardSet("knowedit_zsre.jsonl"),
}


@dataclass(frozen=True)
class Ask:
    """A question of one kind; `target` is what the answer must hold, if anything."""

    fact: Edit
    kind: str
    chat: tuple[Mapping[str, str], ...]
    target: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.fact.id, self.kind, self.chat[-1]["content"]


@dataclass(frozen=True)
class Answer:
    """What was written, whether an edit fired, and the tokens that teacher forcing predicts."""

    text: str
    fired: bool
    tokens: tuple[int, ...] = ()
    predicted: tuple[int, ...] = ()


def asks_of(edits: EditSet, of: StandardSet, *, deep: bool = False) -> tuple[list[Ask], int]:
    """What a set asks, and how many questions were left out since they are an edit's own.

    Args:
        deep: whether also of what follows from a fact, and in more turns of phrase.
    """
    edited = {same_text(edit.prompt) for edit in edits}
    asks, taken = list[Ask](), 0
    for edit in edits:
        for kind, text, target in _asked(edit, deep):
            if kind in UNCHANGED and same_text(text) in edited:
                taken += 1  # another edit changes it, and has to
            else:
                asks.append(Ask(edit, kind, begun(text, of), target))
    return asks, taken


def _asked(edit: Edit, deep: bool) -> Iterator[tuple[str, str, str]]:
    """Kind, text and target of each question."""
    extra: Mapping[str, Any] = edit.extra
    kind_of = {
        text: KINDS.get(kind) for kind, own in extra.get("kinds", {}).items() for text in own
    }
    yield "edit", edit.prompt, edit.target
    for text in edit.generality:
        yield "paraphrase", text, edit.target
    for probe in edit.portability:
        kind = kind_of.get(probe.prompt)
        if kind and (deep or kind not in DEEP):
            yield kind, probe.prompt, probe.target or ""
    if extra.get("yes_question"):
        yield "yes", extra["yes_question"], ""
    if deep:
        yield from _deeper(edit)
    for probe in edit.heldout_locality:
        kind = kind_of.get(probe.prompt, "locality")
        if kind in UNCHANGED and (deep or kind not in DEEP):
            yield kind, probe.prompt, probe.target or ""


def _deeper(edit: Edit) -> Iterator[tuple[str, str, str]]:
    """Of HalluEditBench: the no to a wrong value, hops, and the question turned round."""
    extra: Mapping[str, Any] = edit.extra
    for wrong in list(extra.get("wrong", {}).values())[:1]:
        yield "no", wrong["no_question"], ""
    for count, (text, target) in extra.get("hops", {}).items():
        yield f"{count} hops", text, target
    if extra.get("reversed"):
        yield "reversed", extra["reversed"], edit.subject


def begun(text: str, of: StandardSet) -> tuple[Mapping[str, str], ...]:
    """The chat in which a set asks something."""
    system = ({"role": "system", "content": of.system},) if of.system else ()
    return (*system, {"role": "user", "content": text})


def can_be_challenged(ask: Ask) -> bool:
    """Whether it is a fact's own question, of a set that says how to doubt the answer."""
    return ask.kind == "edit" and "yes_question" in ask.fact.extra


def challenge(ask: Ask, answer: Answer, turn: int) -> Ask:
    """The next turn of a chat: the answer is called wrong."""
    said = CHALLENGE.format(ask.fact.extra["yes_question"])
    turns = ({"role": "assistant", "content": answer.text}, {"role": "user", "content": said})
    return Ask(ask.fact, f"challenge {turn}", (*ask.chat, *turns))


def judged(ask: Ask, answer: Answer, before: Answer | None, of: StandardSet) -> dict[str, float]:
    """What holds of an answer; `before` is the unedited model's where it has to stay."""
    if before is not None:
        same = {"fired": answer.fired, "right": answer.text == before.text}
        forced = agreement(before.predicted, answer.predicted)
        return same | ({"forced": forced} if ask.target else {})
    target = ask.target or ask.fact.target
    said = {"fired": answer.fired, "said": contains(answer.text, target)}
    if ask.kind in ("yes", "no") or ask.kind.startswith("challenge"):
        wanted = "no" if ask.kind == "no" else "yes"
        return said | {"right": _begins(answer.text, wanted)}
    parts = (answer.text, _FIRST.split(answer.text, maxsplit=1)[0])
    exact = any(exact_match(part, target) for part in parts)
    forced = share(a == b for a, b in zip(answer.tokens, answer.predicted, strict=True))
    return said | {
        "exact": exact, "right": exact if of.exact else said["said"], "forced": forced
    }  # fmt: skip


def _begins(text: str, word: str) -> bool:
    return re.match(rf"\W*{word}\b", text, re.IGNORECASE) is not None
