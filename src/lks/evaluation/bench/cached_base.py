"""The unedited model with a memory, for benchmarks that ask it the same again and again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lks.editors.unedited import UneditedModel
from lks.evaluation.provenance import provenance
from lks.files import write_whole
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.engine.protocol import Score, Written


class CachedBase(UneditedModel):
    """The unedited model; what it writes and its scores are kept in a file for all cells."""

    def __init__(self, backbone: Backbone, file: Path) -> None:
        super().__init__(backbone)
        self._file, self._model = file, _state(backbone)
        self._known: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):  # a damaged one is made anew
            self._known = json.loads(file.read_text(encoding="utf-8"))

    def generate(self, prompts: Sequence[Prompt], **options: Any) -> list[str]:
        key = self._key("generate", prompts, options)
        if key not in self._known:
            written = super().generate(prompts, **options)
            self._remember([(key, [[w, getattr(w, "ended", False)] for w in written])])
        return [Written.of(text, ended=ended) for text, ended in self._known[key]]

    def score(self, pairs: Sequence[tuple[Prompt, str]], **options: Any) -> list[Score]:
        if options.get("full"):  # whole distributions are too large to keep
            return super().score(pairs, **options)
        key = self._key("score", pairs, options)
        if key not in self._known:
            scores = super().score(pairs, **options)
            self._remember([(key, [[s.tokens, s.logprobs, s.predicted] for s in scores])])
        return [Score(tuple(t), tuple(p), tuple(c)) for t, p, c in self._known[key]]

    def _key(self, what: str, texts: Sequence[Any], options: dict[str, Any]) -> str:
        """Of the texts of one call together: in another batch the last bits may differ."""
        key = json.dumps([self._model, what, texts, options], sort_keys=True)
        return hashlib.sha256(key.encode()).hexdigest()

    def _remember(self, found: Iterable[tuple[str, Any]]) -> None:
        self._known.update(found)
        write_whole(self._file, json.dumps(self._known, ensure_ascii=False).encode())


def _state(backbone: Backbone) -> str:
    """Hash of all that decides what a model writes."""
    template = getattr(backbone.tokenizer, "chat_template", None)
    kind = str(backbone.device), str(backbone.model.dtype)
    where = {name: told for name, told in provenance().items() if name != "commit"}
    whole = json.dumps(
        [backbone.fingerprint.to_json(), template, kind, where]
    )  # threads change last bits
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
