"""The edit scope: which edits a text triggers, and where.

The matcher finds the mentions of edited entities; a relation gate, if there is one, decides which
of the entity's edits the text asks for. Without a gate all of them fire (the paper's scope).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from itertools import repeat

from lks.edits.edit import Edit
from lks.edits.profiles import in_force
from lks.scope.candidates.token_set import MEANT
from lks.scope.gate.questions import REACH, Sentences, Span, asks_on, without_hearsay
from lks.scope.gate.relation import RelationGate
from lks.scope.languages.en import CommonWords
from lks.scope.matcher import Matcher
from lks.scope.normalizer import normalise
from lks.scope.resolver import disjoint
from lks.scope.types import Decision, Finding, Mention, ids

KINDS = ("relation", "entity")
REFUSED = "a negative phrase stands in the text"
STATED = "the text states it, and then asks about another entity"
ANSWERED = "the text states it, and then asks something else"
FAR = "perhaps its name in other words or another case, but its edits ask otherwise ({:.2f} of {})"
ANSWER = 2_000  # characters after an entity in which the text may state its fact


class Scope:
    """Texts in, mentions out. Never changed: make a new one for other edits.

    Profiles that are not in force take no part.

    Args:
        common: the list of words to go by, if it is read already.
    """

    def __init__(
        self,
        edits: Iterable[Edit],
        gate: RelationGate | None = None,
        *,
        common: CommonWords | None = None,
    ) -> None:
        edits, self._common = in_force(edits), common or CommonWords()
        self._matcher, self._gate = Matcher(edits, common=self._common), gate
        self._refused = {
            edit.id: [words for text in edit.negative if (words := normalise(text).text)]
            for edit in edits
            if edit.negative
        }
        self._edits = {edit.id: edit for edit in edits}

    def with_gate(self, gate: RelationGate | None) -> Scope:
        """The same names behind another gate."""
        clone = copy(self)
        clone._gate = gate
        return clone

    def of_edits(self, edits: Iterable[Edit]) -> Scope:
        """A scope of other edits, without a gate; what does not go by edits is shared."""
        return Scope(edits, common=self._common)

    def may_fire(self, texts: Iterable[str]) -> set[str]:
        """Ids of the edits whose entities the texts name or, in other words, may name."""
        found: list[Mention] = []
        for text in texts:
            named, proposed = self._matcher.with_reworded(text)
            found += named + [mention for mention, _ in proposed]
        return set(ids(found))

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
        entities = [_entities(named) for named, _ in self._named(texts)]
        asked: list[tuple[list[str], list[str]]] = []
        for text, known in zip(texts, entities, strict=True):
            if self._gate and known:
                sentences = _sentences(text, known)
                asked += [(sentences.asking(_spans(own)), ids(own)) for own in known]
        verdicts = iter(self._gate.decide(asked)) if self._gate else repeat(())
        of_entity = iter(asked) if self._gate else repeat(((), ()))
        examined = []
        for text, known in zip(texts, entities, strict=True):
            judged = [
                (own, self._unanswered(text, own, next(of_entity)[0], next(verdicts)))
                for own in known
            ]
            found = [self._findings(text, own, said) for own, said in judged]
            stated = self._stated(text, found) if self._gate else set()
            if stated:
                judged = [(own, _silenced(said, stated, STATED)) for own, said in judged]
                found = [self._findings(text, own, said) for own, said in judged]
            flat = [finding for own in found for finding in own]
            examined.append(sorted(flat, key=lambda finding: finding.mention.start))
        return examined

    def near_misses(self, text: str) -> list[tuple[Mention, str]]:
        """Places that look like a name, misspelt or in other words, but do not count, and why."""
        ((known, refused),) = self._named([text])
        reworded = [(replace(m, fired=False), FAR.format(m.score, MEANT)) for m in refused]
        told = {(m.start, m.end, m.subject) for m in [*known, *refused]}
        misspelt = self._matcher.near_misses(text)
        return [m for m in misspelt if (m[0].start, m[0].end, m[0].subject) not in told] + reworded

    def question(self, text: str, edit_id: str) -> str:
        """The last sentence of `text` that may ask about the edit's entity, names masked."""
        known = _entities(self._matcher(text))
        own = next((entity for entity in known if edit_id in ids(entity)), None)
        asking = _sentences(text, known).asking(_spans(own)) if own else []
        return asking[-1] if asking else text

    def _named(self, texts: Sequence[str]) -> list[tuple[list[Mention], list[Mention]]]:
        """The mentions in each text, and what may be a name in other words but is not meant.

        The score of names in other words, or in another case, which only a gate can tell, is how
        near their sentence, name and all, is to the nearest wording of their edits.
        """
        if self._gate is None:
            return [(self._matcher(text), []) for text in texts]
        found = [self._matcher.with_reworded(text) for text in texts]
        found = [(known, proposed[-REACH:]) for known, proposed in found]
        asked = [(said, self._wordings(mention)) for _, own in found for mention, said in own]
        scores = iter(self._gate.alike(asked))
        named = []
        for known, proposed in found:
            scored = [replace(mention, score=next(scores)) for mention, _ in proposed]
            meant = [mention for mention in scored if mention.score >= MEANT]
            refused = [mention for mention in scored if mention.score < MEANT]
            named.append((disjoint([*known, *meant]) if meant else known, refused))
        return named

    def _wordings(self, mention: Mention) -> list[str]:
        """What a sentence may mean that names the entity in other words.

        An open request tells only the name, so it counts where nobody else can be meant: Deacon
        Blue is not Deacon Blues.
        """
        edits = [self._edits[edit_id] for edit_id in mention.edit_ids]
        wordings = [edit.prompt for edit in edits]
        subject = mention.subject
        if subject.islower() or normalise(mention.surface).text == normalise(subject).text:
            wordings.append(f"Tell me about {subject}")
        return [*wordings, *(text for edit in edits for text in edit.paraphrases)][:REACH]

    def _findings(
        self, text: str, own: Sequence[Mention], verdicts: Sequence[Decision]
    ) -> list[Finding]:
        """Findings at one entity's mentions."""
        refused = self._refused_in(text, ids(own))
        known = {verdict.edit_id: verdict for verdict in _silenced(verdicts, refused, REFUSED)}
        findings = []
        for mention in own:
            here = tuple(known[edit_id] for edit_id in mention.edit_ids if edit_id in known)
            fired = tuple(verdict.edit_id for verdict in here if verdict.fired)
            score = max((v.score for v in here if v.fired or not fired), default=0.0)
            if self._gate is None:
                fired = tuple(e for e in mention.edit_ids if e not in refused)
            changed = replace(
                mention, edit_ids=fired or mention.edit_ids, fired=bool(fired),
                gate=score if self._gate else None,
            )  # fmt: skip
            findings.append(Finding(changed, here))
        return findings

    def _unanswered(
        self,
        text: str,
        own: Sequence[Mention],
        sentences: Sequence[str],
        verdicts: Sequence[Decision],
    ) -> Sequence[Decision]:
        """The verdicts, without edits that the text states before it asks something else.

        As the turns of a chat do: "Where is it? Rome. How tall is it?"
        """
        if not sentences or not asks_on(sentences[-1]):
            return verdicts
        answer = without_hearsay(text[own[0].end : own[0].end + ANSWER])
        earlier = (v.edit_id for v in verdicts if v.fired and v.sentence != sentences[-1])
        facts = (self._edits[e] for e in earlier if not self._edits[e].profile_of)
        stated = {fact.id for fact in facts if _stands(fact.target, answer)}
        return _silenced(verdicts, stated, ANSWERED)

    def _stated(self, text: str, found: Sequence[Sequence[Finding]]) -> set[str]:
        """Edits whose target stands between their entity and a later one that fires.

        The text says already what they would; and of two blocks in one text each disturbs what
        the other makes the model say.
        """
        fired = [[f.mention for f in own if f.mention.fired] for own in found]
        lasts = sorted(((own[-1].start, i) for i, own in enumerate(fired) if own), reverse=True)
        stated = set()
        for i, own in enumerate(fired):
            end = found[i][-1].mention.end
            last = next((start for start, other in lasts[:2] if other != i), 0)
            between = text[end : min(last, end + ANSWER)] if own else ""
            if between:
                stated |= {e for e in ids(own) if _stands(self._edits[e].target, between)}
        return stated

    def _refused_in(self, text: str, edit_ids: Sequence[str]) -> set[str]:
        """Those of the edits that a negative phrase in the text forbids."""
        phrases = {e: self._refused[e] for e in edit_ids if e in self._refused}
        folded = normalise(text).text if phrases else ""
        return {e for e, own in phrases.items() if any(_holds(folded, words) for words in own)}


def _spans(mentions: Iterable[Mention]) -> list[Span]:
    return [(mention.start, mention.end) for mention in mentions]


def _sentences(text: str, entities: Iterable[Iterable[Mention]]) -> Sentences:
    """The sentences of a text that names these entities."""
    return Sentences(text, sorted(span for own in entities for span in _spans(own)))


def _silenced(verdicts: Sequence[Decision], edits: set[str], why: str) -> list[Decision]:
    """The verdicts, with those of some edits turned down."""
    return [
        replace(v, fired=False, why=why) if v.fired and v.edit_id in edits else v for v in verdicts
    ]


def _stands(phrase: str, text: str) -> bool:
    """Whether the words of a phrase stand in a text, one after the other."""
    words = normalise(phrase).text
    return bool(words) and _holds(normalise(text).text, words)


def _holds(folded: str, words: str) -> bool:
    """Whether a folded text holds these folded words."""
    return f" {words} " in f" {folded} "


def _entities(mentions: Sequence[Mention]) -> list[list[Mention]]:
    """Mentions of one text by entity, in order: those that share an edit belong together."""
    groups: dict[int, list[Mention]] = {}
    group_of: dict[str, int] = {}
    for number, mention in enumerate(mentions):
        home, *merged = sorted({group_of[e] for e in mention.edit_ids if e in group_of}) or [number]
        moved = [m for other in merged for m in groups.pop(other)] + [mention]
        groups.setdefault(home, []).extend(moved)
        group_of |= dict.fromkeys(ids(moved), home)
    return [sorted(group, key=lambda mention: mention.start) for group in groups.values()]
