"""A self-test: each fact is asked in wordings that its training did not see.

| form | what is asked |
|---|---|
| prompt | the fact's own prompt |
| question, casual, instruction, completion | a wording of the common relation that is nearest to \
the prompt, which training did not borrow; the casual one in a chat |
| framed | without such a relation: prompt, paraphrases, behind some words; the second in a chat |
| follow-up | a chat about the entity that ends in a question which does not name it |
| neighbour | a question that looks alike, and must not fire the fact |

An ask holds if the target stands in what the model writes. Facts that fail one are trained again,
once: a failed wording becomes a paraphrase, and so a reference of the gate too; a neighbour that
fired becomes one that the gate refuses. Where that is no better for an entity, it is taken back.
No held-out prompt is asked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from lks.editors.protocol import EditedModel, Retrains
from lks.edits.edit import SLOT, Edit, Probe
from lks.edits.profiles import by_entity
from lks.edits.text import counted, same_wording
from lks.evaluation.metrics import mean, stands_in
from lks.evaluation.results import FactTest, FailedAsk, SelfTest
from lks.evaluation.runner import answer_room
from lks.model.backbone import Backbone
from lks.model.chat import Prompt, messages
from lks.model.embedder import CachedEmbedder, Embedder
from lks.model.engine.generation import writes_first_choices
from lks.model.engine.protocol import Generation
from lks.scope.bank.relations import REGISTERS, Relation
from lks.scope.config import preset
from lks.training.config import TrainingConfig
from lks.training.prompts import LENDS, TrainingPrompts, template
from lks.training.talks import without_name
from lks.training.templates import masked
from lks.training.train_pack import lent_prompts

MOST = 300  # facts that are asked
NEIGHBOURS = 2  # of each
ASKS_SAME = 0.8  # a cosine
PROMPT, FRAMED, FOLLOW_UP, NEIGHBOUR = "prompt", "framed", "follow-up", "neighbour"
CHATTED = "casual"  # the register that is asked in a chat
OPENING = ("I have a question about {}.", "What would you like to know?")
FRAMES = (
    "Quick one: {}",
    "Sorry to ask again: {}",
    "I need this for work. {}",
    "Somebody wants to know this from me today. {}",
)
BATCH = 32


@dataclass(frozen=True)
class Ask:
    """A fact asked in one form."""

    fact: Edit
    form: str
    prompt: Prompt
    chat: bool = False

    @property
    def wording(self) -> str:
        """What the user says in it, as one text."""
        said = [turn["content"] for turn in messages(self.prompt) if turn["role"] == "user"]
        return " ".join(said)


@dataclass(frozen=True)
class _Fact:
    """A fact, what its training saw of it, and what it is asked."""

    edit: Edit
    seen: TrainingPrompts
    asks: list[Ask]


Found = dict[str, list[FailedAsk | None]]  # by fact, of each ask how it failed


def self_test(
    model: EditedModel,
    backbone: Backbone,
    edits: Sequence[Edit],
    config: TrainingConfig | None = None,
    *,
    pool: Iterable[Edit] = (),
    embedder: Embedder | None = None,
    seen: Sequence[TrainingPrompts] | None = None,
    most: int = MOST,
    retrain: bool = True,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> SelfTest:
    """Ask for edits in force in wordings that their training did not see.

    Those that fail are trained again once, if the model can (`editors.protocol.Retrains`); where
    that is no better, it is taken back.

    Args:
        edits: those that were trained together; profiles among them are not asked.
        config: what they were trained with.
        pool: further edits that lent them wordings.
        embedder: finds common relations; the configuration's is loaded if it is not given.
        seen: what training saw of each edit, as `train_pack` tells it (`PromptReport.prompts`); it
            is found again if it is not given.
        most: facts that are asked; of more, a sample that the configuration's seed decides.
        retrain: whether to train again at all.
        on_stage: told what is done next.
    """
    started, config = time.monotonic(), config or TrainingConfig()
    chat = config.chat and backbone.has_chat
    embed = None
    if preset(config.scope).gate:
        embed = CachedEmbedder(embedder or Embedder(config.embedder))
    ids = {edit.id for edit in edits}
    others = [edit for edit in pool if edit.id not in ids]
    lent = seen if seen is not None else lent_prompts(embed, edits, others, config)[0]
    facts = _facts(edits, lent, config.seed, others, embed, most, chat)
    ask = _Asking(model, backbone)
    on_stage(f"asking {counted(len(facts), 'fact')} in words that training did not see")
    found, kept = ask(facts), tuple[str, ...]()
    if retrain and isinstance(model, Retrains) and any(map(any, found.values())):
        found, kept = _trained_again(model.retrain, ask, facts, found, on_stage)
    return SelfTest(
        of=sum(not edit.profile_of for edit in edits),
        facts=tuple(_told(fact, found[fact.edit.id]) for fact in facts),
        forms=_shares(facts, found),
        retrained=kept,
        seconds=round(time.monotonic() - started, 1),
    )


def _facts(
    edits: Sequence[Edit],
    lent: Sequence[TrainingPrompts],
    seed: int,
    pool: Sequence[Edit],
    embed: CachedEmbedder | None,
    most: int,
    chat: bool,
) -> list[_Fact]:
    """The facts to ask, each with its asks."""
    least = embed.same + LENDS if embed else 0.0
    held_out = frozenset().union(*(edit.heldout_prompts for edit in (*edits, *pool)))
    numbers = [number for number, edit in enumerate(edits) if not edit.profile_of]
    if len(numbers) > most:
        numbers = sorted(random.Random(seed).sample(numbers, most))
    facts = []
    for edit, own in ((edits[n], lent[n]) for n in numbers):
        near = own.nearest
        relation = near.relation if near and near.cosine >= least else None
        others = _neighbours(embed, relation, edit, own)
        facts.append(_Fact(edit, own, list(_asks(edit, relation, own, others, held_out, chat))))
    return facts


def _asks(
    edit: Edit,
    relation: Relation | None,
    seen: TrainingPrompts,
    neighbours: Sequence[str],
    held_out: frozenset[str],
    chat: bool,
) -> Iterator[Ask]:
    """What a fact is asked: one of each form, and some neighbours."""
    own = (edit.prompt, *seen.paraphrases)
    known = {*held_out, *map(same_wording, (*own, *seen.common, *seen.otherwise))}

    def unseen(templates: Iterable[str], most: int = 1) -> list[str]:
        texts = [form.replace(SLOT, edit.subject) for form in templates]
        return [text for text in texts if same_wording(text) not in known][:most]

    yield Ask(edit, PROMPT, edit.prompt)
    if relation:
        for form in REGISTERS:
            for text in unseen(relation.asked[form]):
                yield Ask(edit, form, text, chat and form == CHATTED)
        later = relation.follow_up[0]
    else:
        framed = [own[n % len(own)] for n in range(len(FRAMES))]
        for n, text in enumerate(unseen(map(_framed, FRAMES, framed), len(FRAMES))):
            yield Ask(edit, FRAMED, text, chat and n == 1)
        later = without_name(edit, edit.prompt)
    if chat:
        opened, answered = (text.replace(SLOT, edit.subject) for text in OPENING)
        turns = (("user", opened), ("assistant", answered), ("user", later))
        yield Ask(edit, FOLLOW_UP, [{"role": who, "content": text} for who, text in turns], True)
    for text in unseen(neighbours, NEIGHBOURS):
        yield Ask(edit, NEIGHBOUR, text)


def _neighbours(
    embed: CachedEmbedder | None, relation: Relation | None, edit: Edit, seen: TrainingPrompts
) -> list[str]:
    """Texts that look like a relation's and ask for another fact; not those that ask what the
    edit's own wordings ask, for the relation may be another one after all."""
    if embed is None or relation is None:
        return []
    own = [template(text, edit.subject) for text in (edit.prompt, *seen.paraphrases)]
    near = embed([masked(form) for form in relation.near])
    cosines = (near @ embed([masked(form) for form in own]).T).max(1)
    return [form for form, cosine in zip(relation.near, cosines, strict=True) if cosine < ASKS_SAME]


def _framed(frame: str, text: str) -> str:
    return frame.replace(SLOT, text)


class _Asking:
    """Asks facts, all in force, and judges what the model writes."""

    def __init__(self, model: EditedModel, backbone: Backbone) -> None:
        self._model, self._backbone = model, backbone

    def __call__(self, facts: Sequence[_Fact]) -> Found:
        asks = [ask for fact in facts for ask in fact.asks]
        groups: dict[tuple[bool, int], list[int]] = {}
        for number, doubtful in enumerate(self._doubtful(asks)):
            if doubtful:
                key = asks[number].chat, self._limit(asks[number])
                groups.setdefault(key, []).append(number)
        failed: list[FailedAsk | None] = [None] * len(asks)
        for (chat, most), own in groups.items():
            written = self._model.respond(
                [asks[n].prompt for n in own], chat=chat, max_new_tokens=most, batch_size=BATCH
            )
            for n, one in zip(own, written, strict=True):
                failed[n] = _failed(asks[n], one)
        each = iter(failed)
        return {fact.edit.id: list(islice(each, len(fact.asks))) for fact in facts}

    def _doubtful(self, asks: Sequence[Ask]) -> list[bool]:
        """Whether the model has to write, for it to be seen whether an ask holds.

        Where each token of the target is its first choice, that is what it would write; and a
        neighbour that nothing fires holds.
        """
        found = [True] * len(asks)
        near = [n for n, ask in enumerate(asks) if ask.form == NEIGHBOUR]
        fired = self._model.triggered([asks[n].prompt for n in near])
        for n, one in zip(near, fired, strict=True):
            found[n] = one
        for chat in (False, True) if writes_first_choices(self._backbone) else ():
            own = [n for n, a in enumerate(asks) if a.chat == chat and a.form != NEIGHBOUR]
            pairs = [(asks[n].prompt, asks[n].fact.target) for n in own]
            for n, score in zip(own, self._model.score(pairs, chat=chat), strict=True):
                found[n] = not all(score.matches)
        return found

    def _limit(self, ask: Ask) -> int:
        """Tokens that an answer may have: those of the target and some more."""
        if ask.form == NEIGHBOUR:
            return 1  # only what fires counts
        return answer_room(self._backbone, ask.fact.target)


def _failed(ask: Ask, written: Generation) -> FailedAsk | None:
    """How an ask failed, if it did."""
    fired = ask.fact.id in written.fired
    if ask.form == NEIGHBOUR:
        how = "fired" if fired else None
    elif stands_in(written.text, ask.fact.target):
        how = None
    else:
        how = "another answer" if fired else "did not fire"
    return FailedAsk(ask.form, ask.wording, ask.chat, how, written.text) if how else None


def _trained_again(
    retrain: Callable[[Iterable[Edit]], Callable[[Iterable[str]], None]],
    ask: _Asking,
    facts: Sequence[_Fact],
    found: Found,
    on_stage: Callable[[str], None],
) -> tuple[Found, tuple[str, ...]]:
    """What is found once the facts that failed are trained again, and which of these were kept.

    The facts of one entity compete for its questions, so they are kept or taken back together.
    """
    failing = {fact.edit.id: fact for fact in facts if any(found[fact.edit.id])}
    on_stage(f"training {counted(len(failing), 'fact')} again that failed in some words")
    take_back = retrain([_taught(fact, found[i]) for i, fact in failing.items()])
    entities = by_entity(fact.edit for fact in facts)
    touched = [own for own in entities.values() if any(edit.id in failing for edit in own)]
    asked = {edit.id for own in touched for edit in own}
    now = ask([fact for fact in facts if fact.edit.id in asked])
    gone = set[str]()
    for own in touched:
        if _failures(now, own) >= _failures(found, own):
            gone |= {edit.id for edit in own}
    take_back([i for i in failing if i in gone])
    better = {i: outcome for i, outcome in now.items() if i not in gone}
    return {**found, **better}, tuple(i for i in failing if i not in gone)


def _failures(found: Found, edits: Iterable[Edit]) -> int:
    return sum(failed is not None for edit in edits for failed in found[edit.id])


def _taught(fact: _Fact, found: Sequence[FailedAsk | None]) -> Edit:
    """The fact with all that training saw as its own, and what failed beside it."""
    failed = [one for one in found if one]
    asked = [one.wording for one in failed if one.form not in (PROMPT, NEIGHBOUR)]
    others = [Probe(one.wording) for one in failed if one.form == NEIGHBOUR]
    seen = (*fact.seen.paraphrases, *fact.seen.common)
    return replace(
        fact.edit,
        paraphrases=tuple(dict.fromkeys((*asked, *seen))),
        locality=(*fact.edit.locality, *others),
    )


def _told(fact: _Fact, found: Sequence[FailedAsk | None]) -> FactTest:
    failed = tuple(one for one in found if one)
    return FactTest(fact.edit.id, fact.edit.subject, len(fact.asks), failed)


def _shares(facts: Sequence[_Fact], found: Found) -> dict[str, float]:
    """The share of asks that hold, by form."""
    held: dict[str, list[bool]] = {}
    for fact in facts:
        for ask, failed in zip(fact.asks, found[fact.edit.id], strict=True):
            held.setdefault(ask.form, []).append(failed is None)
    return {form: round(mean(own) or 0.0, 4) for form, own in held.items()}
