"""Scores an edited model beside the unedited one, on the same prompts and in the same way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field

from lks.editors.protocol import EditedModel
from lks.edits.edit import Edit
from lks.evaluation.metrics import (
    agreement,
    contains,
    edit_performance,
    exact_match,
    interval,
    joint_interval,
    mean,
    ngram_entropy,
    not_asked,
    share,
)
from lks.evaluation.results import (
    KINDS,
    BaseScores,
    FactScores,
    Fluency,
    Intervals,
    KindScores,
    PortabilityScores,
    Probe,
    Scores,
    Summary,
    Uncontradicted,
)
from lks.model.backbone import Backbone
from lks.model.chat import Prompt
from lks.model.engine.protocol import Score

PORTABILITY = "portability"
AT_ONCE = 64  # locality prompts whose distributions are held at once
ANSWER_TOKENS = 8
SPARE, STEP = 12, 16  # tokens beside the target, and of what the room is a multiple
FLUENCY_TOKENS = 64
FLUENCY_PROMPT = "{} is known for"
Value = Callable[[Probe], float | None]


@dataclass
class Evaluation:
    """Every probe, and what they come to."""

    chat: bool
    edits: int
    probes: list[Probe]
    fluency: Fluency | None = None
    contradicted: frozenset[str] = frozenset()
    warnings: list[str] = field(default_factory=list)

    def summary(self) -> Summary:
        """Means over prompts; None where there was nothing to score."""

        def means(value: Value) -> KindScores:
            return _means(self.probes, value)

        base, base_free = means(lambda p: p.base_forced), means(lambda p: p.base_free)
        return Summary(
            n=self.edits,
            prompts="chat" if self.chat else "plain",
            teacher_forced=_scores(self.probes, _forced),
            free_running=_scores(self.probes, _free),
            teacher_forced_exact=means(lambda p: p.exact),
            intervals=self._intervals(),
            contained=_of_facts(means(lambda p: p.contained)),
            base=BaseScores(base.reliability, base.generality, _of_facts(base_free)),
            locality_kl=mean(p.kl for p in self.probes),
            clean_stops=means(lambda p: p.stopped),
            portability=self._portability(),
            fluency=self.fluency,
            triggered=means(lambda p: p.triggered),
            uncontradicted=self._uncontradicted(),
            warnings=tuple(self.warnings),
        )

    def failing(self) -> dict[str, list[Probe]]:
        """The prompts that ask for a fact, its own or held-out, which were not answered with it.

        By the fact's id; the target may stand anywhere in what the model writes.
        """
        found: dict[str, list[Probe]] = {}
        for probe in self.probes:
            if probe.kind in KINDS and probe.contained is False:
                found.setdefault(probe.edit_id, []).append(probe)
        return found

    def _uncontradicted(self) -> Uncontradicted | None:
        """Scores without the edits that another one contradicts; None if there are none."""
        if not self.contradicted:
            return None
        left = [probe for probe in self.probes if probe.edit_id not in self.contradicted]
        count = self.edits - len(self.contradicted)
        return Uncontradicted(count, _scores(left, _forced), _scores(left, _free))

    def _portability(self) -> PortabilityScores | None:
        """Scores of what follows from the facts; None where the edits say nothing of it."""
        own = [probe for probe in self.probes if probe.kind == PORTABILITY]
        if not own:
            return None
        return PortabilityScores(
            n=len(own),
            teacher_forced=mean(p.forced for p in own),
            free_running=mean(p.free for p in own),
            contained=mean(p.contained for p in own),
            base=mean(p.base_forced for p in own),
            triggered=mean(p.triggered for p in own),
        )

    def _intervals(self) -> Intervals:
        """95 % of each teacher-forced mean, by bootstrap over edits; of EP too."""
        cases: dict[str, dict[str, list[float]]] = {}
        for probe in self.probes:
            if probe.forced is not None:
                cases.setdefault(probe.edit_id, {}).setdefault(probe.kind, []).append(probe.forced)
        found = {k: interval([own[k] for own in cases.values() if k in own]) for k in KINDS}
        scored = {kind for own in cases.values() for kind in own}
        whole = [{kind: own.get(kind, []) for kind in KINDS} for own in cases.values()]
        return Intervals(**found, ep=joint_interval(whole) if scored >= set(KINDS) else None)

    def to_json(self) -> dict[str, object]:
        return {**self.summary().to_json(), "cases": [asdict(probe) for probe in self.probes]}


def _forced(probe: Probe) -> float | None:
    return probe.forced


def _free(probe: Probe) -> bool | None:
    return probe.free


def _means(probes: Sequence[Probe], value: Value) -> KindScores:
    return KindScores(*(mean(value(p) for p in probes if p.kind == kind) for kind in KINDS))


def _scores(probes: Sequence[Probe], value: Value) -> Scores:
    """Means of each kind, and EP."""
    own = _means(probes, value)
    parts = own.reliability, own.generality, own.locality
    return Scores(*parts, edit_performance(*parts))


def _of_facts(scores: KindScores) -> FactScores:
    return FactScores(scores.reliability, scores.generality)


def evaluate(
    base: EditedModel,
    edited: EditedModel,
    edits: Sequence[Edit],
    *,
    chat: bool = False,
    free_running: bool = True,
    max_new_tokens: int = 32,
    fluency_edits: int = 32,
    contradicted: Collection[str] = (),
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Evaluation:
    """Reliability on each edit's own prompt, generality and locality on its held-out ones.

    Locality compares the edited with the unedited model: the tokens predicted along the probe's
    target (along the unedited model's own answer if it has none), and the texts they write.

    Args:
        base, edited: the two models, as of `Unedited` and `Scalpel`.
        free_running: let both write too; without it there are no free-running scores.
        contradicted: ids of edits that another one in force contradicts; the summary has the scores
            of the others too.
        fluency_edits: how many edits' subjects are written about, the first ones; 0 for none.
    """
    probes = [probe for edit in edits for probe in _probes(edit)]
    asked: list[Prompt] = [p.prompt for p in probes]
    if chat:
        asked = [[{"role": "user", "content": p.prompt}] for p in probes]
    for probe, fired in zip(probes, edited.triggered(asked), strict=True):
        probe.triggered = fired
    if free_running:
        on_stage("writing freely, unedited")
        prompts = [probe.prompt for probe in probes]
        before = base.generate(prompts, chat=chat, max_new_tokens=max_new_tokens)
        on_stage("writing freely, edited")
        after = edited.respond(prompts, chat=chat, max_new_tokens=max_new_tokens)
        for probe, old, new in zip(probes, before, after, strict=True):
            _compare_texts(probe, old, new.text)
            probe.stopped = None if new.finish_reason is None else new.finish_reason == "stop"
    else:  # locality probes without a target are scored along the unedited model's own answer
        bare = [probe for probe in probes if not probe.target]
        answers = base.generate([p.prompt for p in bare], chat=chat, max_new_tokens=ANSWER_TOKENS)
        for probe, answer in zip(bare, answers, strict=True):
            probe.before = answer
    on_stage("teacher forcing")
    scored = [probe for probe in probes if probe.target or probe.before]
    local = [probe for probe in scored if probe.kind == "locality"]
    _score(base, edited, [p for p in scored if p.kind != "locality"], chat, full=False)
    for start in range(0, len(local), AT_ONCE):
        _score(base, edited, local[start : start + AT_ONCE], chat, full=True)
    result = Evaluation(
        chat, len(edits), probes, contradicted=frozenset(contradicted), warnings=not_asked(edits)
    )
    if fluency_edits and free_running:
        on_stage("fluency")
        result.fluency = fluency(base, edited, edits[:fluency_edits])
    return result


def answer_limit(backbone: Backbone, edits: Sequence[Edit], least: int) -> int:
    """So many tokens that every target can be written and ended, `least` at least."""
    targets = dict.fromkeys(edit.target for edit in edits)
    joined = (backbone.join("", target, chat=False)[0] for target in targets)
    return max([least, *(len(backbone.tokenize(text, chat=False)[0]) + 1 for text in joined)])


def answer_room(backbone: Backbone, target: str) -> int:
    """Tokens that an answer about a fact may have, its target's and some more: one of few numbers,
    so that batches are full."""
    tokens = len(backbone.tokenizer(target).input_ids)
    return STEP * -(-(tokens + SPARE) // STEP)


def fluency(base: EditedModel, edited: EditedModel, edits: Sequence[Edit]) -> Fluency:
    """N-gram entropy of what the two models write about the subjects."""
    subjects = dict.fromkeys(edit.subject for edit in edits)
    prompts = [FLUENCY_PROMPT.format(subject) for subject in subjects]
    written = (model.generate(prompts, max_new_tokens=FLUENCY_TOKENS) for model in (base, edited))
    return Fluency(*(mean(map(ngram_entropy, texts)) for texts in written))


def _probes(edit: Edit) -> list[Probe]:
    asked = [("reliability", edit.prompt, edit.target)]
    asked += [("generality", prompt, edit.target) for prompt in edit.generality]
    asked += [("locality", probe.prompt, probe.target or "") for probe in edit.heldout_locality]
    asked += [(PORTABILITY, probe.prompt, probe.target or "") for probe in edit.portability]
    return [Probe(edit.id, kind, prompt, target) for kind, prompt, target in asked]


def _score(
    base: EditedModel, edited: EditedModel, probes: Sequence[Probe], chat: bool, *, full: bool
) -> None:
    pairs = [(probe.prompt, probe.target or probe.before) for probe in probes]
    was, now = (model.score(pairs, chat=chat, full=full) for model in (base, edited))
    for probe, old, new in zip(probes, was, now, strict=True):
        _compare_scores(probe, old, new)


def _compare_texts(probe: Probe, before: str, after: str) -> None:
    probe.before, probe.after = before, after
    if probe.kind == "locality":
        probe.free = exact_match(before, after)
        probe.base_free = True
    else:
        probe.free = exact_match(after, probe.target)
        probe.contained = contains(after, probe.target)
        probe.base_free = exact_match(before, probe.target)


def _compare_scores(probe: Probe, base: Score, edited: Score) -> None:
    if probe.kind == "locality":
        probe.forced = agreement(base.predicted, edited.predicted)
        probe.base_forced = 1.0
        if base.full is not None and edited.full is not None and len(base.full):
            share_of = base.full.exp()
            probe.kl = float((share_of * (base.full - edited.full)).sum(-1).mean())
    else:
        probe.forced = share(edited.matches)
        probe.base_forced = share(base.matches)
    probe.exact = probe.forced == 1.0
