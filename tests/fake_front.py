"""A front without a model: names fire, tokens are those of a small tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conftest import make_tokenizer

from lks.edits.edit import Edit
from lks.model.chat import Prompt, messages
from lks.serving.http.choice import Around
from lks.serving.http.detokenizer import Vocabulary
from lks.serving.http.server import Prepared, Spot
from lks.serving.service import Snapshot


class FakeFront:
    def __init__(self, tokenizer: Any = None) -> None:
        self.tokenizer = tokenizer or make_tokenizer(chat=True)
        self.vocabulary = Vocabulary(self.tokenizer)
        self.around = Around()

    def stop_ids(self, *, chat: bool) -> frozenset[int]:
        return frozenset({3 if chat else 1})

    def prepare(
        self, prompt: Prompt | Sequence[int], snapshot: Snapshot | None, *, chat: bool
    ) -> Prepared:
        if chat:
            turns = messages(prompt)  # type: ignore[arg-type]
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
            ids = self.tokenizer(text).input_ids
            parts = [(number, turn["content"]) for number, turn in enumerate(turns)]
        elif isinstance(prompt, str):
            ids, parts = self.tokenizer(prompt).input_ids, [(None, prompt)]
        else:
            ids, parts = list(prompt), [(None, self.vocabulary.text(list(prompt)))]
        fired, near = [], []
        for number, said in parts if snapshot else ():
            own, missed = self._spots(snapshot, said, number)
            fired += own
            near += missed
        return Prepared(ids, None, (), fired, near)

    def _spots(
        self, snapshot: Snapshot, text: str, message: int | None
    ) -> tuple[list[Spot], list[Spot]]:
        """A mention whose sentence ends in "!" does not fire, as if it asked something else."""
        spots = [
            Spot(e, m.subject, m.start, m.end, m.surface, None, message)
            for m in snapshot.in_force.scope.mentions(text)
            for e in m.edit_ids
        ]
        if not text.endswith("!"):
            return spots, []
        return [], [Spot(**{**vars(s), "reason": "below_threshold"}) for s in spots]

    def dry_run(
        self, texts: Sequence[str], snapshot: Snapshot, more: Sequence[Edit] = ()
    ) -> list[tuple[Sequence[Spot], Sequence[Spot]]]:
        return [self._spots(snapshot, text, None) for text in texts]
