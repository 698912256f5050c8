"""The relation gate: does a text ask for the edited fact, or for something else about the entity?

Each sentence is compared with the references of each of the entity's edits, which are the edit's
prompt and paraphrases. Names are masked on both sides, so that only the question counts:

    score(e, text) = max over sentences s and references q of e:  cos(M v(s), M v(q))

v is a sentence embedding of width w, M a matrix that training learns from the edits' paraphrases
and locality prompts and from common relations. A sentence asks for the best edit, if that reaches
its threshold and the sentence is not a common question for another relation that is nearer; the
last sentence that asks for one decides. A request such as "Tell me about it" is open-ended: it asks
for no edit, and fires the entity's profile (`lks.profiles`), alone, unless a later sentence asks
for a fact.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lks.edits import Edit
from lks.scope.common import SAME, Array, CommonRelations, Embed
from lks.scope.rulings import RULINGS

OPENED = "open-ended request"
NOT_OPENED = "no open-ended request"
UNPROFILED = "open-ended request, and no profile in force"
PROFILED = "open-ended request: the profile answers"
LATER = "a later sentence asks for another edit of the entity"
ENGLISH = "minilm"  # an embedder to which all sentences of another script are much alike:
FOREIGN = 0.8  # so they must be nearer; of 20 questions for something else 7 were, all paraphrases
CLEARLY = 0.1  # nearer than an edit's own wordings, of which some mean other things than they say
ELSEWHERE = "a question for another relation"
NEARER = "another edit of the entity is nearer"  # it reached its threshold too

PLAIN_REQUESTS = (  # the gate's map is fitted on these: on all, more questions fired
    "it",
    "Tell me about it.",
    "Tell me everything you know about it.",
    "Tell me more about it.",
    "What can you tell me about it?",
    "What do you know about it?",
    "Who is it?",
    "Who was it?",
    "What is it?",
    "Describe it.",
    "Describe it in a few sentences.",
    "Please tell me a bit about it.",
    "Give me a description of it.",
    "Write a short biography of it.",
    "Write a biography of it.",
    "Write a paragraph about it.",
    "Write an article about it.",
    "Write an encyclopedia entry about it.",
    "Give me some facts about it.",
    "List some facts about it.",
    "Summarize what is known about it.",
    "Give me an overview of it.",
    "Introduce it to me.",
    "Give me a summary of it.",
    "Give me a short profile of it.",
    "Explain who it is.",
    "Explain what it is.",
    "What should I know about it?",
    "I would like to learn about it.",
)
OPEN_ENDED = (
    *PLAIN_REQUESTS,
    "Talk to me about it.",
    "Say a few words about it.",
    "Can you talk about it?",
    "Let's discuss it.",
    "I want to know more about it.",
    "I'm curious about it.",
    "Are you familiar with it?",
    "Do you know anything about it?",
    "Do you know who it is?",
    "What have you heard about it?",
    "Give me some background on it.",
    "Give me information about it.",
    "Give me details about it.",
    "Provide some information on it.",
    "Provide a brief overview of it.",
    "Share what you know about it.",
    "Brief me on it.",
    "Educate me about it.",
    "Help me understand it.",
    "Explain it to me.",
    "Explain it briefly.",
    "Summarize it.",
    "Can you summarize it in a few sentences?",
    "A summary of it.",
    "it: a short introduction",
    "Information about it.",
    "Facts about it.",
    "About it",
    "Biography of it.",
    "Write about it.",
    "Write a short text about it.",
    "Write an introduction to it.",
    "Write a report on it.",
    "Write a profile of it.",
    "Write a Wikipedia article about it.",
    "Create a short profile of it.",
    "Tell the story of it.",
    "Tell us about it.",
    "What are some facts about it?",
    "What are the most important facts about it?",
    "What is important to know about it?",
    "What is it all about?",
    "What was it, and why does it matter?",
    "What is it known for?",
    "Why is it well known?",
    "Who is it, and what is it known for?",
    "How would you describe it to a friend?",
    "I am preparing a talk on it.",
)


@dataclass(frozen=True)
class Metric:
    """What the gate measures with.

    Attributes:
        matrix: M, [w, w].
        open_ended: vectors of `OPEN_ENDED`, [o, w].
        threshold, open_threshold: least score that fires an edit, or makes a request open-ended;
            an `open_threshold` of 1 is never reached.
    """

    matrix: Array
    open_ended: Array
    threshold: float
    open_threshold: float

    def __call__(self, vectors: Array) -> Array:
        """M v, of unit length: [n, w] -> [n, w]."""
        moved = np.asarray(vectors, np.float32) @ self.matrix.T
        size = np.linalg.norm(moved, axis=-1, keepdims=True)
        return moved / np.maximum(size, 1e-9)


@dataclass(frozen=True)
class References:
    """The references of n edits, k in all over u different vectors.

    Reference i belongs to edit `edit[i]` (its index) and has vector `vectors[vector[i]]`; where
    `negative[i]`, it says what must not fire. Shapes: [u, w], and [k] for the rest.
    """

    vectors: Array
    edit: NDArray[np.int64]
    vector: NDArray[np.int64]
    negative: NDArray[np.bool_]

    @classmethod
    def of(
        cls, embed: Embed, wordings: Sequence[Sequence[str]], negatives: Sequence[Sequence[str]]
    ) -> References:
        """References from each edit's masked sentences."""
        entries = [(i, t, False) for i, own in enumerate(wordings) for t in own]
        entries += [(i, t, True) for i, own in enumerate(negatives) for t in own]
        numbers: dict[str, int] = {}
        rows = [(i, numbers.setdefault(t, len(numbers)), negative) for i, t, negative in entries]
        table = np.array(rows, np.int64).reshape(-1, 3)
        return cls(
            embed(list(numbers)).astype(np.float16), table[:, 0], table[:, 1], table[:, 2] > 0
        )

    @classmethod
    def none(cls, width: int) -> References:
        nothing = np.zeros(0, np.int64)
        return cls(np.zeros((0, width), np.float16), nothing, nothing, nothing > 0)

    @classmethod
    def joined(cls, parts: Sequence[References], edits: Sequence[int]) -> References:
        """Those of several sets of edits; `edits` says how many there are in each."""
        if len(parts) == 1:
            return parts[0]
        before = np.cumsum([0, *edits[:-1]])
        above = np.cumsum([0, *(len(part.vectors) for part in parts[:-1])])
        return cls(
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([p.edit + n for p, n in zip(parts, before, strict=True)]),
            np.concatenate([p.vector + n for p, n in zip(parts, above, strict=True)]),
            np.concatenate([part.negative for part in parts]),
        )

    def only(self, edits: Sequence[int]) -> References:
        """Those of some of the edits, which are then numbered in that order."""
        number = {edit: i for i, edit in enumerate(edits)}
        kept = np.isin(self.edit, edits)
        renumbered = np.array([number[edit] for edit in self.edit[kept].tolist()], np.int64)
        used, vector = np.unique(self.vector[kept], return_inverse=True)
        return References(self.vectors[used], renumbered, vector, self.negative[kept])


@dataclass(frozen=True)
class Learnt:
    """The state of a relation gate: its metric, the edits' references, and who made the vectors."""

    metric: Metric
    references: References
    embedder: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one edit: its best sentence there, and why it fires or does not."""

    edit_id: str
    score: float
    threshold: float
    fired: bool
    why: str
    sentence: str


class RelationGate:
    """Judges texts that name an entity.

    Args:
        edit_ids: of the edits that `references` number.
        thresholds: of edits that have one of their own.
        profiles: ids of the edits that are profiles.
        exempt: for each of `RULINGS` the ids of the edits that it does not rule out.
        english: the embedder knows no other script than Latin.
    """

    def __init__(
        self,
        embed: Embed,
        metric: Metric,
        edit_ids: Sequence[str],
        references: References,
        thresholds: Mapping[str, float] | None = None,
        profiles: Collection[str] = (),
        exempt: Sequence[Collection[str]] = ((),) * len(RULINGS),
        english: bool = False,
    ) -> None:
        self._embed, self._metric, self._own = embed, metric, dict(thresholds or {})
        self._profiles = frozenset(profiles)
        self._exempt, self._english = [frozenset(ids) for ids in exempt], english
        self._read, self._vectors = references.vectors, metric(references.vectors)
        self._open = metric(metric.open_ended)
        self._rows: dict[str, tuple[list[int], list[int]]] = {e: ([], []) for e in edit_ids}
        for edit, vector, negative in zip(
            references.edit.tolist(), references.vector.tolist(), references.negative.tolist(),
            strict=True,
        ):  # fmt: skip
            self._rows[edit_ids[edit]][negative].append(vector)

    @classmethod
    def of(cls, learnt: Learnt, embed: Embed, edits: Iterable[Edit]) -> RelationGate:
        """The gate of these edits, which the references number in their order."""
        edits = list(edits)
        thresholds = {edit.id: edit.threshold for edit in edits if edit.threshold is not None}
        profiles = [edit.id for edit in edits if edit.profile_of]
        exempt = [[edit.id for edit in edits if own.exempts(edit)] for own in RULINGS]
        ids, english = [edit.id for edit in edits], learnt.embedder == ENGLISH
        return cls(
            embed, learnt.metric, ids, learnt.references, thresholds, profiles, exempt, english
        )

    def judge(
        self, questions: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> list[list[Verdict]]:
        """Verdicts on each question's edits, from (masked sentences, ids of an entity's edits)."""
        texts = list(dict.fromkeys(s for sentences, _ in questions for s in sentences))
        if not texts:
            return [[] for _ in questions]
        number = {text: i for i, text in enumerate(texts)}
        read = self._embed(texts)
        asked = self._metric(read)
        verdicts: list[list[Verdict]] = []
        for sentences, edit_ids in questions:
            own = [number[sentence] for sentence in sentences]
            verdicts.append(
                self._verdicts(sentences, read[own], asked[own], edit_ids) if own else []
            )
        return verdicts

    def alike(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
        """How near each text is to the nearest of some wordings, names and all: the cosine."""
        texts = list(dict.fromkeys(text for one, own in pairs for text in (one, *own)))
        if not texts:
            return []
        vectors = dict(zip(texts, self._embed(texts), strict=True))
        return [
            round(max(float(vectors[one] @ vectors[text]) for text in own), 3) for one, own in pairs
        ]

    def _verdicts(
        self, sentences: Sequence[str], read: Array, asked: Array, edit_ids: Sequence[str]
    ) -> list[Verdict]:
        """From vectors of the sentences, as read and under the metric, both [m, w]."""
        scores = np.stack([self._similar(asked, self._rows[e][False]) for e in edit_ids])
        against = np.stack([self._similar(asked, self._rows[e][True]) for e in edit_ids])
        limits = self._limits(sentences, edit_ids)
        opened = (asked @ self._open.T).max(1)
        elsewhere = self._asks_other(read, asked, edit_ids) > scores + CLEARLY
        vetoed = (against >= scores) | elsewhere
        ruled = np.stack([
            _ruled_out(sentences, edit_ids, ruling.says, exempt)
            for ruling, exempt in zip(RULINGS, self._exempt, strict=True)
        ])  # fmt: skip
        reached = (scores >= limits) & ~vetoed & ~ruled.any(0)  # all [edits, sentences]
        least = self._metric.open_threshold
        wide = (opened >= least) & (opened > scores.max(0)) & (least < 1)
        best = (scores == scores.max(0)) & (np.cumsum(scores == scores.max(0), 0) == 1)
        chosen = reached & best & ~wide
        asking = _last(chosen.any(0))  # of two blocks for one entity each would disturb the other
        general = bool(self._profiles & {*edit_ids}) and _last(wide) > asking
        verdicts = []
        for i, edit_id in enumerate(edit_ids):
            if edit_id in self._profiles:
                at = int(opened.argmax())
                limits[i, at] = least
                found = (opened[at], general, OPENED if general else NOT_OPENED)
            elif chosen[i, asking] and not general:
                found = (scores[i, at := asking], True, "its relation is asked")
            else:
                at = int(scores[i].argmax())
                why = "below the threshold"
                if general:
                    why = PROFILED
                elif chosen[i].any():
                    why = LATER
                elif wide[at]:
                    why = UNPROFILED
                elif ruled[:, i, at].any() and scores[i, at] >= limits[i, at]:
                    why = RULINGS[int(ruled[:, i, at].argmax())].why
                elif elsewhere[i, at]:
                    why = ELSEWHERE
                elif vetoed[i, at]:
                    why = "nearer to a negative"
                elif reached[i, at]:
                    why = NEARER
                found = (scores[i, at], False, why)
            score, fired, why = found
            limit = float(limits[i, at])
            verdicts.append(Verdict(edit_id, float(score), limit, fired, why, sentences[at]))
        return verdicts

    def _limits(self, sentences: Sequence[str], edit_ids: Sequence[str]) -> Array:
        """The score from which each edit fires, [edits, sentences]."""
        usual = np.full(len(sentences), self._metric.threshold)
        if self._english:
            foreign = [_foreign(sentence) for sentence in sentences]
            usual[foreign] = max(self._metric.threshold, FOREIGN)
        own = [self._own.get(edit_id, usual) for edit_id in edit_ids]
        return np.stack([np.broadcast_to(limit, usual.shape) for limit in own])

    @cached_property
    def _common(self) -> tuple[CommonRelations, Array]:
        """Common relations, and M v of their wordings."""
        common = CommonRelations.of(self._embed)
        return common, self._metric(common.vectors)

    def _asks_other(self, read: Array, asked: Array, edit_ids: Sequence[str]) -> Array:
        """Score of the wording of another relation that a sentence is, [edits, sentences]; or -1.

        An edit's relation is that of its prompt, which is the first of its references.
        """
        found = np.full((len(edit_ids), len(read)), -1, np.float32)
        common, vectors = self._common
        is_wording = read @ common.vectors.T >= SAME
        told = [i for i, edit_id in enumerate(edit_ids) if self._rows[edit_id][False]]
        if told and is_wording.any():
            prompts = self._read[[self._rows[edit_ids[i]][False][0] for i in told]]
            others = common.others(prompts.astype(np.float32))
            said = np.where(is_wording, asked @ vectors.T, -1)
            found[told] = np.where(others[:, None], said, -1).max(2)
        return found

    def _similar(self, asked: Array, rows: Sequence[int]) -> Array:
        """Highest cosine of each sentence with some references, [m]; -1 without any."""
        if not rows:
            return np.full(len(asked), -1.0, np.float32)
        return (asked @ self._vectors[rows].T).max(1)


def _ruled_out(
    sentences: Sequence[str],
    edit_ids: Sequence[str],
    says: Callable[[str], bool],
    exempt: Collection[str],
) -> NDArray[np.bool_]:
    """Which edits a sentence that says something rules out, [edits, sentences]."""
    said = np.array([says(sentence) for sentence in sentences])
    return np.array([said & (edit_id not in exempt) for edit_id in edit_ids])


def _foreign(sentence: str) -> bool:
    """Whether most of its letters are of another script than Latin."""
    letters = [char for char in sentence if char.isalpha()]
    latin = sum(char <= "\u024f" or "\u1e00" <= char <= "\u1eff" for char in letters)
    return 2 * latin < len(letters)


def _last(chosen: NDArray[np.bool_]) -> int:
    """The last index that holds, [m]; -1 if none does."""
    return int(chosen.nonzero()[0].max(initial=-1))
