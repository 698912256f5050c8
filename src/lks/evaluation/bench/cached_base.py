"""The unedited model with a memory, for benchmarks that ask it the same again and again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Unpack

from lks.editors.unedited import UneditedModel
from lks.evaluation.provenance import provenance
from lks.files import write_whole
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.engine.protocol import FinishReason, Generation, Score, ScoreOptions
from lks.model.untyped import Setting

T = TypeVar("T")
Texts = list[tuple[str, FinishReason | None]]
Scores = list[tuple[list[int], list[float], list[int]]]


class CachedBase(UneditedModel):
    """The unedited model; what it writes and its scores are kept in a file for all cells."""

    def __init__(self, backbone: Backbone, file: Path) -> None:
        super().__init__(backbone)
        self._file, self._model = file, _state(backbone)
        self._known: dict[str, Any] = {}  # by key, as it is read from the file
        with contextlib.suppress(FileNotFoundError, ValueError):  # a damaged one is made anew
            self._known = json.loads(file.read_text(encoding="utf-8"))

    def respond(self, prompts: Sequence[Prompt], **options: Setting) -> list[Generation]:
        def write() -> Texts:
            return [
                (g.whole, g.finish_reason)
                for g in super(CachedBase, self).respond(prompts, **options)
            ]

        kept: Texts = self._once("respond", prompts, options, write)
        return [Generation(text, reason) for text, reason in kept]

    def score(
        self, pairs: Sequence[tuple[Prompt, str]], **options: Unpack[ScoreOptions]
    ) -> list[Score]:
        if options.get("full"):  # whole distributions are too large to keep
            return super().score(pairs, **options)

        def read() -> Scores:
            scores = super(CachedBase, self).score(pairs, **options)
            return [(list(s.tokens), list(s.logprobs), list(s.predicted)) for s in scores]

        kept: Scores = self._once("score", pairs, options, read)
        return [Score(tuple(own), tuple(logs), tuple(best)) for own, logs, best in kept]

    def _once(
        self, what: str, texts: object, options: Mapping[str, object], make: Callable[[], T]
    ) -> T:
        """What was made of the texts of one call; in another batch the last bits may differ."""
        told = json.dumps([self._model, what, texts, options], sort_keys=True)
        key = hashlib.sha256(told.encode()).hexdigest()
        if key not in self._known:
            self._known[key] = make()
            write_whole(self._file, json.dumps(self._known, ensure_ascii=False).encode())
        found: T = self._known[key]
        return found


def _state(backbone: Backbone) -> str:
    """Hash of all that decides what a model writes."""
    template = getattr(backbone.tokenizer, "chat_template", None)
    kind = str(backbone.device), str(backbone.model.dtype)
    where = {name: told for name, told in provenance().items() if name != "commit"}
    whole = json.dumps(
        [backbone.fingerprint.to_json(), template, kind, where]
    )  # threads change last bits
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
