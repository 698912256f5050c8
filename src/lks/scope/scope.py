"""The edit scope: which edits a text triggers, and where.

Made of small parts, which a `ScopeConfig` names: the matcher's find the mentions of edited
entities; a relation gate, if there is one, decides which of the entity's edits the text asks for.
Without a gate all of them fire (the paper's scope).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace

from lks.edits.edit import Edit
from lks.edits.profiles import in_force
from lks.scope.config import DEFAULT, ScopeConfig
from lks.scope.gate.metric import Embed, GateState
from lks.scope.gate.questions import MASK, REACH, Sentences, Span, masked
from lks.scope.gate.relation import RelationGate
from lks.scope.gate.text_vetoes import OfEachEdit
from lks.scope.gate.verdicts import verdict, whole
from lks.scope.matcher import Matcher, mention_of
from lks.scope.normalizer import Doc, normalise
from lks.scope.resolver import longest
from lks.scope.types import Decision, Finding, Mention, Named, Reason, TextVeto, ids

MEANT = 0.7  # least cosine of a sentence that means what a wording means


class Scope:
    """Texts in, mentions out. Never changed: make a new one for other edits.

    Profiles that are not in force take no part.

    Args:
        config: the parts that it is made of.
    """

    def __init__(
        self,
        edits: Iterable[Edit],
        gate: RelationGate | None = None,
        config: ScopeConfig = DEFAULT,
    ) -> None:
        given = list(edits)
        self._profiled = any(edit.profile_of for edit in given)
        edits, self.config = in_force(given), config
        self._matcher, self._gate = Matcher(edits, config), gate
        self._vetoes: list[TextVeto] = [part.fit(edits) for part in config.made("text_vetoes")]
        self._edits = {edit.id: edit for edit in edits}

    def without(self, gone: Collection[str]) -> Scope | None:
        """The scope of the other edits, behind the same gate, at once however many there are.

        It decides as one made anew. None where that is not to be had: with profiles, which rest
        or come back when a fact goes, and with parts of one's own.
        """
        matcher = None if self._profiled else self._matcher.without(gone)
        if matcher is None:
            return None
        clone = copy(self)
        clone._matcher = matcher  # what else is known of edits that are gone is never asked for
        if not all(isinstance(veto, OfEachEdit) for veto in self._vetoes):
            left = matcher.edits
            clone._vetoes = [part.fit(left) for part in self.config.made("text_vetoes")]
        return clone

    def with_gate(self, gate: RelationGate | None) -> Scope:
        """The same names behind another gate."""
        clone = copy(self)
        clone._gate = gate
        return clone

    def gated(self, state: GateState | None, embed: Embed | None, edits: Iterable[Edit]) -> Scope:
        """The same names behind a gate with this state, if there is one.

        Args:
            edits: all that the state's exemplars number, in their order.
        """
        if state is None or embed is None:
            return self.with_gate(None)
        return self.with_gate(RelationGate.of(state, embed, edits, self.config))

    def of_edits(self, edits: Iterable[Edit]) -> Scope:
        """A scope of other edits, of the same parts but without a gate."""
        return Scope(edits, config=self.config)

    def may_fire(self, texts: Iterable[str]) -> set[str]:
        """Ids of the edits whose entities the texts name or, in other words, may name."""
        found: list[str] = []
        for doc in map(normalise, texts):
            known, _ = self._matcher.find(doc)
            proposed = self._matcher.proposed(doc, known)
            found += [edit_id for one in known for edit_id in one.entity.edit_ids]
            found += ids(mention for mention, _ in proposed)
        return set(found)

    def mentions(self, text: str) -> list[Mention]:
        """Every mention in `text`, in order; those with `fired` take part in an edit."""
        return [finding.mention for finding in self.examine([text])[0]]

    def fired(self, texts: Sequence[str]) -> list[list[Mention]]:
        """For each text the mentions whose edits apply, with those edits only."""
        return [
            [finding.mention for finding in found if finding.mention.fired]
            for found in self.examine(texts)
        ]

    def examine(self, texts: Sequence[str]) -> list[list[Finding]]:
        """Every mention in each text with the reasons; the gate reads all texts at once."""
        docs = [normalise(text) for text in texts]
        named = [_entities(mentions) for mentions, _ in self._named(docs)]
        self._decide(docs, named)
        for doc, entities in zip(docs, named, strict=True):
            for veto in self._vetoes if entities else ():
                _silence(entities, veto.silenced(doc, entities), veto.reason)
            if self._gate and self._gate.judges:
                self._judge(doc, entities)
        return [self._findings(entities) for entities in named]

    def near_misses(self, text: str) -> list[tuple[Mention, Reason]]:
        """Places that look like a name, misspelt or in other words, but do not count, and why."""
        ((known, refused),) = self._named([normalise(text)])
        reworded = [(replace(mention, fired=False), Reason.FAR) for mention in refused]
        told = {(m.start, m.end, m.subject) for m in [*known, *refused]}
        misspelt = self._matcher.near_misses(text)
        return [m for m in misspelt if (m[0].start, m[0].end, m[0].subject) not in told] + reworded

    def question(self, text: str, edit_id: str) -> str:
        """The last sentence of `text` that may ask about the edit's entity, names masked."""
        known = _entities(self._matcher(text))
        own = next((entity for entity in known if edit_id in ids(entity.mentions)), None)
        asking = _sentences(text, known).asking(_spans(own)) if own else []
        return asking[-1][1] if asking else text

    def _named(self, docs: Sequence[Doc]) -> list[tuple[list[Mention], list[Mention]]]:
        """The mentions in each text, and what may be a name in other words but is not meant.

        The score of names in other words, or in another case, which only a gate can tell, is how
        near their sentence, name and all, is to the nearest wording of their edits. Where only the
        case differs, the gate's references count too.
        """
        found = [self._matcher.find(doc)[0] for doc in docs]
        mentions = [
            [mention_of(doc, one) for one in own] for doc, own in zip(docs, found, strict=True)
        ]
        if self._gate is None:
            return [(own, []) for own in mentions]
        proposed = [
            self._matcher.proposed(doc, own)[-REACH:] for doc, own in zip(docs, found, strict=True)
        ]
        asked = [self._asked(mention, said) for own in proposed for mention, said in own]
        alike = self._gate.alike([(said, wordings) for said, wordings, _ in asked])
        decided = self._gate.decide([([said] if own else [], own) for said, _, own in asked])
        scores = iter(
            max([score, *(decision.score for decision in own)])
            for score, own in zip(alike, decided, strict=True)
        )
        named = []
        for known, own in zip(mentions, proposed, strict=True):
            scored = [replace(mention, score=next(scores)) for mention, _ in own]
            meant = [mention for mention in scored if mention.score >= MEANT]
            refused = [mention for mention in scored if mention.score < MEANT]
            named.append((longest([*known, *meant]) if meant else known, refused))
        return named

    def _asked(self, mention: Mention, said: str) -> tuple[str, list[str], tuple[str, ...]]:
        """A sentence that may name the entity in other words, what it may mean, and the edits
        whose references it may be near.

        A name that only has another case is masked on both sides, so that the question counts. An
        open request tells only the name, so it counts where nobody else can be meant: Deacon Blue
        is not Deacon Blues.
        """
        edits = [self._edits[edit_id] for edit_id in mention.edit_ids]
        subject, surface = mention.subject, mention.surface
        same = normalise(surface).folded in {normalise(n).folded for e in edits for n in e.names}
        wordings = [edit.prompt for edit in edits]
        if subject.islower() or same:
            wordings.append(f"Tell me about {subject}")
        wordings += [text for edit in edits for text in edit.paraphrases]
        if same:
            said = said.replace(surface, MASK)
            wordings = [text.replace(subject, MASK) for text in wordings]
        return said, wordings[:REACH], mention.edit_ids if same else ()

    def _decide(self, docs: Sequence[Doc], named: Sequence[Sequence[Named]]) -> None:
        """Give each entity its decisions."""
        if self._gate is None:
            for own in (own for entities in named for own in entities):
                own.decisions = [
                    Decision(e, 1.0, 0.0, True, Reason.NAMED, "") for e in ids(own.mentions)
                ]
            return
        for doc, entities in zip(docs, named, strict=True):
            if entities:
                sentences = _sentences(doc.text, entities)
                for own in entities:
                    asking = sentences.asking(_spans(own))
                    if self._gate.judges:
                        asking = [(at, whole(sentences.before(at), said)) for at, said in asking]
                    own.begins, own.sentences = [at for at, _ in asking], [s for _, s in asking]
        flat = [own for entities in named for own in entities]
        decided = self._gate.decide([(own.sentences, ids(own.mentions)) for own in flat])
        for own, decisions in zip(flat, decided, strict=True):
            own.decisions = decisions

    def _judge(self, doc: Doc, entities: Sequence[Named]) -> None:
        """Say of edits that fire whether the text asks for yes or no, and which is right."""
        for own in entities:
            text = masked(doc.text, _spans(own)) if own.fired else ""
            own.decisions = [
                replace(d, verdict=verdict(self._edits[d.edit_id], own.from_on(d), text))
                if d.fired
                else d
                for d in own.decisions
            ]

    def _findings(self, entities: Sequence[Named]) -> list[Finding]:
        """One for each mention, in order of the text."""
        found = [finding for own in entities for finding in self._of_entity(own)]
        return sorted(found, key=lambda finding: finding.mention.start)

    def _of_entity(self, own: Named) -> Iterator[Finding]:
        known = {decision.edit_id: decision for decision in own.decisions}
        for mention in own.mentions:
            here = tuple(known[edit_id] for edit_id in mention.edit_ids if edit_id in known)
            fired = tuple(decision.edit_id for decision in here if decision.fired)
            score = max((d.score for d in here if d.fired or not fired), default=0.0)
            judged = [decision.verdict for decision in here if decision.fired]
            changed = replace(
                mention,
                edit_ids=fired or mention.edit_ids,
                fired=bool(fired),
                gate=score if self._gate else None,
                verdict=judged[0] if len(judged) == 1 else None,
            )
            yield Finding(changed, here if self._gate else ())


def _spans(own: Named) -> list[Span]:
    return [(mention.start, mention.end) for mention in own.mentions]


def _sentences(text: str, entities: Iterable[Named]) -> Sentences:
    """The sentences of a text that names these entities."""
    return Sentences(text, sorted(span for own in entities for span in _spans(own)))


def _silence(entities: Sequence[Named], edit_ids: set[str], reason: Reason) -> None:
    for own in entities if edit_ids else ():
        own.decisions = [
            replace(d, fired=False, reason=reason) if d.fired and d.edit_id in edit_ids else d
            for d in own.decisions
        ]


def _entities(mentions: Sequence[Mention]) -> list[Named]:
    """Mentions of one text by entity, in order: those that share an edit belong together."""
    groups: dict[int, list[Mention]] = {}
    group_of: dict[str, int] = {}
    for number, mention in enumerate(mentions):
        home, *merged = sorted({group_of[e] for e in mention.edit_ids if e in group_of}) or [number]
        moved = [m for other in merged for m in groups.pop(other)] + [mention]
        groups.setdefault(home, []).extend(moved)
        group_of |= dict.fromkeys(ids(moved), home)
    return [Named(sorted(group, key=lambda m: m.start)) for group in groups.values()]
