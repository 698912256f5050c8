"""The front of a loaded model: prompts to tokens and blocks, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import torch

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError
from lks.model import tokens
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.embedder import CachedEmbedder, Embedders
from lks.model.untyped import Tokenizer
from lks.scope.inspect.report import NEAR
from lks.scope.inspect.silent import check_edits_fire
from lks.scope.scope import Scope
from lks.scope.types import Finding, Mention, Reason
from lks.serving.front import Found, Watched, read
from lks.serving.http.choice import Around
from lks.serving.http.detokenizer import Vocabulary
from lks.serving.http.server import Prepared, Spot
from lks.serving.service import Snapshot
from lks.training.gate_metric import learn
from lks.training.prompts import GATE_WORDINGS, training_prompts
from lks.training.scope_preview import scope_of_edits

Spots = tuple[list[Spot], list[Spot]]  # what fires, and what nearly does
SAID = "zebra"  # an answer that stands for any


class ModelFront:
    """`server.Front` of a backbone.

    Args:
        embedders: where embedders are loaded, if others use the same ones.

    Attributes:
        around: what the chat template has around an answer.
    """

    def __init__(self, backbone: Backbone, embedders: Embedders | None = None) -> None:
        self._backbone = backbone
        self.vocabulary = Vocabulary(backbone.tokenizer)
        self.around = around_answers(backbone.tokenizer)
        self._added, _ = tokens.special_around(backbone.tokenizer)
        self._embedders = embedders or Embedders()

    def stop_ids(self, *, chat: bool) -> frozenset[int]:
        """The model's own, whoever asks."""
        return frozenset(self._backbone.stop_ids)

    def prepare(
        self, prompt: Prompt | Sequence[int], snapshot: Snapshot | None, *, chat: bool
    ) -> Prepared:
        reading = read(self._backbone, snapshot, prompt, chat=chat)
        fired, near = _spots(reading.found, chat=chat)
        added = self._added if isinstance(prompt, str) else 0
        return Prepared(
            reading.ids, reading.blocks, reading.targets, fired, near, added, reading.watch
        )

    def fired(self, watched: Watched, *, chat: bool) -> Sequence[Spot]:
        return _spots(watched.found, chat=chat)[0]

    def dry_run(
        self, texts: Sequence[str], snapshot: Snapshot, more: Sequence[Edit] = ()
    ) -> list[tuple[Sequence[Spot], Sequence[Spot]]]:
        """With names that are not taken among what nearly fires.

        Raises:
            EditFileError: one of the further edits would never fire.
        """
        scope = self._with_more(texts, snapshot, EditSet(more)) if more else snapshot.in_force.scope
        told: list[tuple[Sequence[Spot], Sequence[Spot]]] = []
        for text, findings in zip(texts, scope.examine(texts), strict=True):
            found = [Found(f, 0, f.mention.start, f.mention.end) for f in findings]
            fired, near = _spots(found, chat=False)
            told.append((fired, [*near, *_refused(scope.near_misses(text))]))
        return told

    def _with_more(self, texts: Sequence[str], snapshot: Snapshot, new: EditSet) -> Scope:
        """The scope that there would be with more edits in force. No block is trained: the gate
        learns their wordings, as far as it learns more once the first edits are there."""
        now = snapshot.in_force
        if not now.edits:
            return scope_of_edits(new, texts)
        known = now.beside(new)
        names = now.scope.of_edits([*known, *new])
        check_edits_fire(new, names)
        if now.gate is None:
            return names
        embedder = self._embedders.of(now.gate)
        assert embedder is not None
        embed = CachedEmbedder(embedder)
        lent, _ = training_prompts(new, known, embed=embed, most=GATE_WORDINGS)
        _, exemplars = learn(embed, new, lent, metric=now.gate.metric)
        blocks = torch.zeros(len(new), len(snapshot.layers), self._backbone.width)
        return now.joined(new, blocks, exemplars, embedder, names).scope


def _spots(found: Iterable[Found], *, chat: bool) -> Spots:
    fired, near = list[Spot](), list[Spot]()
    for own in found:
        for spot, fires in _of_finding(own, own.message if chat else None):
            (fired if fires else near).append(spot)
    return fired, near


def _of_finding(own: Found, message: int | None) -> Iterator[tuple[Spot, bool]]:
    """(edit at this place, whether it fires) of those that fire, and of near misses."""
    finding: Finding = own.finding
    mention = finding.mention
    place = mention.subject, own.start, own.end, mention.surface
    if not finding.decisions and mention.fired:  # no gate: it is enough to be named
        for edit in mention.edit_ids:
            yield Spot(edit, *place, None, message), True
    for decision in finding.decisions:
        if decision.fired:
            judged = decision.verdict.value if decision.verdict else None
            yield Spot(decision.edit_id, *place, decision.score, message, verdict=judged), True
        elif decision.score >= decision.threshold - NEAR:
            reason = str(decision.reason)
            yield Spot(decision.edit_id, *place, decision.score, message, reason), False


def _refused(names: Iterable[tuple[Mention, Reason]]) -> Iterator[Spot]:
    """What looked like a name and was not taken for it."""
    for mention, reason in names:
        for edit in mention.edit_ids:
            place = mention.subject, mention.start, mention.end, mention.surface
            yield Spot(edit, *place, mention.score, None, str(reason))


def around_answers(tokenizer: Tokenizer) -> Around:
    """What a chat template has around an answer, between the request for one and the turn's end."""
    if not tokens.takes_turns(tokenizer):
        return Around()
    asked = [{"role": "user", "content": "?"}]

    def behind_request(content: str) -> str | None:
        answered = [*asked, {"role": "assistant", "content": content}]
        with suppress(InputError):
            request = tokens.chat(tokenizer, asked).text
            text = tokens.chat(tokenizer, answered, answered=True).text
            return text[len(request) :] if text.startswith(request) else None
        return None

    plain, spaced = behind_request(SAID), behind_request(f"  {SAID}  ")
    if plain is None or SAID not in plain:
        return Around()
    before, _, behind = plain.partition(SAID)
    # A template may write more behind the request, such as an empty thought: that is the model's.
    before = before if before.isspace() else ""
    behind = behind[: len(behind) - len(behind.lstrip())]
    return Around(before, behind, strips=spaced is not None and f"  {SAID}  " not in spaced)
