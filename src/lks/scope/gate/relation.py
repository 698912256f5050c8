"""The relation gate: does a text ask for the edited fact, or for something else about the entity?

Each sentence is compared with the references of each of the entity's edits, which are the edit's
prompt and paraphrases. Names are masked on both sides, so that only the question counts:

    score(e, text) = max over sentences s and references q of e:  cos(M v(s), M v(q))

v is a sentence embedding of width w, M a matrix that training learns from the edits' paraphrases
and locality prompts where there are many, else the identity. A sentence asks for the best edit, if
that reaches its threshold; the last sentence that asks for one decides. A request such as "Tell me
about it" is open-ended: it asks for no edit, and fires the entity's profile (`lks.edits.profiles`),
alone, unless a later sentence asks for a fact.

A question for yes or no holds a value beside the question, which no reference has. Where such
questions are judged (`verdicts`), they also count without names and numbers, and the bar is lower
for the edit whose target is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np

from lks.edits.edit import Edit
from lks.scope.bank.words import in_latin
from lks.scope.config import DEFAULT, ScopeConfig
from lks.scope.gate import verdicts
from lks.scope.gate.metric import Array, Embed, Exemplars, GateState, Metric
from lks.scope.types import Decision, Reason, SentenceVeto

ENGLISH = "minilm"  # an embedder to which all sentences of another script are much alike:
NAMED = 0.2  # less is needed where a question for yes or no names the target
FOREIGN = 0.8  # so they must be nearer; of 20 questions for something else 7 were, all paraphrases


class RelationGate:
    """Judges texts that name an entity.

    Args:
        edits: those that `exemplars` number, in their order.
        vetoes: sentences that ask for none of an edit, near as they are.
        english: the embedder knows no other script than Latin.
        judges: questions for yes or no are told from others.
    """

    def __init__(
        self,
        embed: Embed,
        metric: Metric,
        edits: Sequence[Edit],
        exemplars: Exemplars,
        vetoes: Sequence[SentenceVeto] = (),
        english: bool = False,
        judges: bool = False,
    ) -> None:
        self._embed, self._metric, self._vetoes = embed, metric, vetoes
        self.judges = judges
        self._edits = {edit.id: edit for edit in edits}
        self._profiles = frozenset(edit.id for edit in edits if edit.profile_of)
        self._english, self._vectors = english, exemplars.vectors
        self._sizes = metric.sizes(exemplars.vectors)
        self._open = metric.open_ended / metric.sizes(metric.open_ended)[:, None]
        self._rows: dict[str, tuple[list[int], list[int]]] = {e: ([], []) for e in self._edits}
        for edit, vector, negative in zip(
            exemplars.edit.tolist(),
            exemplars.vector.tolist(),
            exemplars.negative.tolist(),
            strict=True,
        ):
            self._rows[edits[edit].id][negative].append(vector)

    @classmethod
    def of(
        cls,
        learnt: GateState,
        embed: Embed,
        edits: Iterable[Edit],
        config: ScopeConfig = DEFAULT,
    ) -> RelationGate:
        """The gate of these edits, which the exemplars number in their order."""
        vetoes: list[SentenceVeto] = config.made("sentence_vetoes")
        english, exemplars = learnt.embedder == ENGLISH, learnt.exemplars
        return cls(embed, learnt.metric, list(edits), exemplars, vetoes, english, learnt.judges)

    def decide(
        self, questions: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> list[list[Decision]]:
        """Decisions on each question's edits: (masked sentences, ids of an entity's edits)."""
        # Of each question: which sentences ask for yes or no, and all without those ones' values.
        judged = [self._judged(sentences) for sentences, _ in questions]
        plainer = [
            [verdicts.plainer(s) if asks else s for s, asks in zip(sentences, own, strict=True)]
            for (sentences, _), own in zip(questions, judged, strict=True)
        ]
        said = chain.from_iterable(sentences for sentences, _ in questions)
        texts = list(dict.fromkeys([*said, *chain.from_iterable(plainer)]))
        if not texts:
            return [[] for _ in questions]
        vectors = dict(zip(texts, self._metric.towards(self._embed(texts)), strict=True))
        decided: list[list[Decision]] = []
        for (sentences, edit_ids), also, own in zip(questions, plainer, judged, strict=True):
            if not sentences:
                decided.append([])
                continue
            asked, without = (np.stack([vectors[s] for s in texts]) for texts in (sentences, also))
            decided.append(self._decisions(sentences, asked, without, own, edit_ids))
        return decided

    def _judged(self, sentences: Sequence[str]) -> list[bool]:
        """Which sentences of a text are questions for yes or no."""
        return verdicts.asking(sentences) if self.judges else [False] * len(sentences)

    def alike(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
        """How near each text is to the nearest of some wordings, names and all: the cosine."""
        texts = list(dict.fromkeys(text for one, own in pairs for text in (one, *own)))
        if not texts:
            return []
        vectors = dict(zip(texts, self._embed(texts), strict=True))
        return [
            round(max(float(vectors[one] @ vectors[text]) for text in own), 3) for one, own in pairs
        ]

    def _decisions(
        self,
        sentences: Sequence[str],
        asked: Array,
        plainer: Array,
        judged: Sequence[bool],
        edit_ids: Sequence[str],
    ) -> list[Decision]:
        """From vectors of the sentences, [m, w], moved as references need them.

        The last sentence that asks for an edit decides, and in it the best edit: of two blocks for
        one entity each would disturb what the other makes the model say.

        Args:
            plainer: of `judged` sentences, which ask for yes or no, without their values; of others
                the same as `asked`.
        """
        scores = np.stack([self._similar(asked, self._rows[e][False]) for e in edit_ids])
        if any(judged):
            also = np.stack([self._similar(plainer, self._rows[e][False]) for e in edit_ids])
            scores = np.maximum(scores, also)
        against = self._against(sentences, asked, edit_ids, scores)
        limits = self._limits(sentences, judged, edit_ids)
        opened = (asked @ self._open.T).max(1)
        least, best = self._metric.open_threshold, scores.argmax(0)
        wide = (opened >= least) & (opened > scores.max(0)) & (least < 1)
        open_at = max(np.flatnonzero(wide).tolist(), default=-1)
        asking = [
            at
            for at, i in enumerate(best.tolist())
            if scores[i, at] >= limits[i, at] and not wide[at] and not against(i, at)
        ]
        last = asking[-1] if asking else -1
        general = bool(self._profiles & {*edit_ids}) and open_at > last
        decided = []
        for i, edit_id in enumerate(edit_ids):
            if edit_id in self._profiles:
                at = int(opened.argmax())
                reason = Reason.OPENED if general else Reason.NOT_OPENED
                score, limit = float(opened[at]), least
            else:
                fires = asking and best[last] == i and not general
                at = last if fires else int(scores[i].argmax())
                score, limit = float(scores[i, at]), float(limits[i, at])
                if fires:
                    reason = Reason.ASKED
                elif general:
                    reason = Reason.PROFILED
                elif any(best[other] == i for other in asking):
                    reason = Reason.LATER
                elif wide[at]:
                    reason = Reason.UNPROFILED
                elif score < limit:
                    reason = Reason.BELOW
                else:
                    reason = against(i, at) or Reason.NEARER
            fired = reason in (Reason.ASKED, Reason.OPENED)
            decided.append(Decision(edit_id, score, limit, fired, reason, sentences[at]))
        return decided

    def _against(
        self,
        sentences: Sequence[str],
        asked: Array,
        edit_ids: Sequence[str],
        scores: Array,
    ) -> Callable[[int, int], Reason | None]:
        """What speaks against edit i in a sentence."""
        negative = np.stack([self._similar(asked, self._rows[e][True]) for e in edit_ids])

        def reason(i: int, at: int) -> Reason | None:
            edit = self._edits[edit_ids[i]]
            for veto in self._vetoes:
                if veto.rules_out(sentences[at], edit):
                    return veto.reason
            return Reason.NEGATIVE if negative[i, at] >= scores[i, at] else None

        return reason

    def _limits(
        self, sentences: Sequence[str], judged: Sequence[bool], edit_ids: Sequence[str]
    ) -> Array:
        """The score from which each edit fires, [edits, sentences]."""
        usual = np.full(len(sentences), self._metric.threshold)
        if self._english:
            foreign = [not in_latin(sentence) for sentence in sentences]
            usual[foreign] = max(self._metric.threshold, FOREIGN)
        own = [self._edits[edit_id].threshold for edit_id in edit_ids]
        limits = np.stack([usual if one is None else np.full_like(usual, one) for one in own])
        for at in np.flatnonzero(judged).tolist():
            for i, edit_id in enumerate(edit_ids):
                if verdicts.names_target(self._edits[edit_id], sentences[at]):
                    limits[i, at] -= NAMED
        return limits

    def _similar(self, asked: Array, rows: Sequence[int]) -> Array:
        """Highest cosine of each sentence with some references, [m]; -1 without any."""
        if not rows:
            return np.full(len(asked), -1.0, np.float32)
        products = asked @ self._vectors[rows].T.astype(np.float32)
        nearest: Array = (products / self._sizes[rows]).max(1)
        return nearest
