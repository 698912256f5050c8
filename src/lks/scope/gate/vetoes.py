"""Sentences that rule an edit out, near as they are."""

from __future__ import annotations

import re

from lks.edits.edit import Edit
from lks.scope.gate.questions import MASK, WINDOW
from lks.scope.types import Reason

_VERB = r"(?:am|is|are|was|were|do|does|did|has|have|had|ca|can|could|will|wo|would|should|must)"
_DENIAL = re.compile(
    rf"\b{MASK}\b.*(?<!\bI )(?<!\bwe )(?<!\byou )"  # whoever speaks may not know
    rf"\b{_VERB}(?: (?:not|never|no longer)|n['\u2019]t|not)\b"
    r"(?! (?:only|just|merely|simply|know|remember|recall)\b)"
    rf"(?!.*(?:[,;:?]|\b(?:and|but|or|which|who|that|{_VERB})\b))"  # nothing else follows
    rf"|\b{MASK}\b.*(?<!\bor) (?:not|never|no longer)$",  # or the text breaks off there
    re.IGNORECASE | re.DOTALL,
)


class Denial:
    """The sentence says what is not so: "it is not located in". Embeddings hardly tell."""

    version, reason = 1, Reason.DENIED
    example = ("it was born in", "it was not born in")

    def rules_out(self, sentence: str, edit: Edit) -> bool:
        return denies(sentence) and not denies(edit.prompt.replace(edit.subject, MASK))


def denies(sentence: str) -> bool:
    """Whether a masked sentence says of the entity what is not so."""
    return len(sentence) <= WINDOW and _DENIAL.search(sentence) is not None
