"""What is in force at one moment: edits, their blocks, and what decides where they fire."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace

from torch import Tensor, nn

from lks.blocks.bank import Bank, BlockId, Place
from lks.blocks.placement import locate
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.chat import Rendered
from lks.model.embedder import Embedder
from lks.model.encoding import Encoding
from lks.model.engine.hook import Plan, replacing
from lks.model.engine.protocol import Intervention
from lks.model.offsets import Offsets
from lks.scope.gate.metric import Exemplars, GateState
from lks.scope.inspect.conflicts import Contradiction, contradictions
from lks.scope.scope import Scope
from lks.scope.types import Finding, Mention, ids

# From a text and its tokens' spans to what was found in it, and what puts its blocks in.
Placed = Callable[[Rendered, Offsets], tuple[Sequence[Finding], Intervention]]


@dataclass(frozen=True)
class Located:
    """What fires in one text, and where.

    Attributes:
        findings: mentions of edited entities, those that do not fire included.
        places: tokens of the text, and whose blocks belong there: of edits, or of a verdict.
        targets: of edits that fire, what is said whole.
    """

    findings: Sequence[Finding]
    places: Sequence[tuple[int, Sequence[BlockId]]]
    targets: Sequence[str]

    @property
    def fired(self) -> list[str]:
        """Ids of the edits that fire, each once."""
        return ids(finding.mention for finding in self.findings if finding.mention.fired)

    @property
    def stated(self) -> list[str]:
        """Ids of those whose targets are said: the others are answered with yes or no."""
        return ids(finding.mention for finding in self.findings if _states(finding.mention))


@dataclass(frozen=True, eq=False)
class InForce:
    """A snapshot that never changes: a change makes another one, and takes its place at once.

    So whoever has one works on one state of things from beginning to end, whatever others do.

    Attributes:
        edits: by id, in order.
        bank: their blocks, in the same order.
        gate: what the relation gate learnt, its references numbered as the bank's rows; None
            where every mention of an entity fires its edits.
        scope: which of the edits a text fires, and where.
    """

    edits: Mapping[str, Edit]
    bank: Bank
    gate: GateState | None
    scope: Scope

    @classmethod
    def of(
        cls,
        names: Scope,
        edits: Iterable[Edit],
        bank: Bank,
        gate: GateState | None,
        embed: Embedder | None,
    ) -> InForce:
        """What is in force with these edits.

        Args:
            names: the scope of the edits without a gate.
            embed: what the gate compares questions with.
        """
        by_id = {edit.id: edit for edit in edits}
        if gate is None or embed is None:
            return cls(by_id, bank, None, names)
        return cls(by_id, bank, gate, names.gated(gate, embed, by_id.values()))

    def only(self, edits: Sequence[Edit], embed: Embedder | None) -> InForce:
        """The same with some of the edits, in this order; KeyError for one that is not there."""
        exemplars, gate = self.exemplars(edits), self.gate
        if gate is not None and exemplars is not None:
            gate = replace(gate, exemplars=exemplars)
        bank = self.bank.only([edit.id for edit in edits])
        return InForce.of(self.scope.of_edits(edits), edits, bank, gate, embed)

    def without(self, gone: Collection[str], embed: Embedder | None) -> InForce:
        """The same without some of the edits, at once however many there are.

        Blocks and references of the others stay where they are; the next edit that comes makes
        room. Where that is not to be had (`Scope.without`), it is made anew.
        """
        left = {e: edit for e, edit in self.edits.items() if e not in gone}
        scope = self.scope.without(gone)
        if scope is None:
            return self.only([*left.values()], embed)
        return replace(self, edits=left, bank=self.bank.without(gone), scope=scope)

    def beside(self, new: EditSet) -> EditSet:
        """The edits that stay when new ones come: those of other ids and other questions."""
        ids = {edit.id for edit in new}
        others = (edit for edit in self.edits.values() if edit.id not in ids)
        return EditSet([*others, *new])[: -len(new)]

    def joined(
        self,
        new: EditSet,
        blocks: Tensor,
        exemplars: Exemplars | None,
        embed: Embedder | None,
        names: Scope | None = None,
    ) -> InForce:
        """The same with new edits, in place of some or beside them.

        Args:
            blocks, exemplars: of the new edits; blocks are [n, k, d].
            names: the scope of the edits that are in force then, without a gate, if it is there.
        """
        if not len(new):
            return self
        known, gate = self.beside(new), self.gate
        held = self.exemplars(known)
        if gate is not None and held is not None and exemplars is not None:
            both = Exemplars.joined([held, exemplars], [len(known), len(new)])
            gate = replace(gate, exemplars=both)
        bank = self.bank.only([edit.id for edit in known]).joined([e.id for e in new], blocks)
        edits = [*known, *new]
        return InForce.of(names or self.scope.of_edits(edits), edits, bank, gate, embed)

    def exemplars(self, edits: Iterable[Edit]) -> Exemplars | None:
        """The relation gate's references of edits in force."""
        wanted = [self.bank.rows[edit.id] for edit in edits]
        return self.gate.exemplars.only(wanted) if self.gate else None

    def contradictions(self, edits: Sequence[Edit]) -> list[Contradiction]:
        """Pairs of one of `edits` and another in force that contradict each other."""
        return contradictions(edits, self.edits.values(), self.scope)

    def within(
        self, layers: Sequence[nn.Module], roles: Sequence[str], *, exact: bool
    ) -> Intervention:
        """What puts blocks into whatever batch is read.

        Args:
            layers: that the bank's blocks belong to; others as of `located`.
        """

        def intervention(encoding: Encoding) -> AbstractContextManager[Plan]:
            located = self.located(encoding.texts, encoding.offsets, roles, exact=exact)
            return self.replacing(layers, encoding, located)

        return intervention

    def placed(self, layers: Sequence[nn.Module], roles: Sequence[str], *, exact: bool) -> Placed:
        """The same for one text that is looked through before it is read."""

        def place(text: Rendered, offsets: Offsets) -> tuple[Sequence[Finding], Intervention]:
            (own,) = self.located([text], [offsets], roles, exact=exact)
            return own.findings, lambda encoding: self.replacing(layers, encoding, [own])

        return place

    def located(
        self,
        texts: Sequence[Rendered],
        offsets: Sequence[Offsets],
        roles: Sequence[str],
        *,
        exact: bool,
    ) -> list[Located]:
        """What fires in each of some texts, and at which of their tokens.

        Args:
            offsets: character spans of each text's tokens.
            exact: of edits that do not say it themselves.
        """
        scanned = [rendered.scanned(roles) for rendered in texts]
        located = []
        examined = self.scope.examine([text for text, _ in scanned])
        for findings, (_, place), spans in zip(examined, scanned, offsets, strict=True):
            fired = [finding.mention for finding in findings if finding.mention.fired]
            places = [(at, _blocks(mention)) for at, mention in locate(fired, place, spans)]
            located.append(Located(findings, places, self._whole(findings, exact)))
        return located

    @contextmanager
    def replacing(
        self, layers: Sequence[nn.Module], encoding: Encoding, located: Sequence[Located]
    ) -> Iterator[Plan]:
        """The replacers for one batch: their plans have one place for each mention that fires."""
        places = [
            Place(row, start + token, blocks)
            for row, (own, start) in enumerate(zip(located, encoding.starts, strict=True))
            for token, blocks in own.places
        ]
        plans = self.bank.plans(len(encoding.texts), places)
        findings = [own.findings for own in located]
        targets = [own.targets for own in located]
        plans[0] = replace(plans[0], findings=findings, targets=targets)
        with ExitStack() as stack:
            for layer, plan in zip(layers, plans, strict=True):
                stack.enter_context(replacing(layer, plan))
            yield plans[0]

    def _whole(self, findings: Iterable[Finding], usual: bool) -> list[str]:
        """The targets of edits that fired which are said whole or not at all."""
        edits = [self.edits[i] for i in ids(f.mention for f in findings if _states(f.mention))]
        return [e.target for e in edits if (usual if e.exact is None else e.exact)]

    def stored_bytes(self) -> int:
        """Of blocks, the gate's references and what the edits say; those of edits that were taken
        out count no more, and what does not grow with the edits does not count."""
        found, edits = self.exemplars(self.edits.values()), self.edits.values()
        said = (text for edit in edits for text in (*edit.names, edit.prompt, edit.target))
        written = sum(len(text.encode()) for text in said)
        return self.bank.stored_bytes(self.edits) + (found.nbytes if found else 0) + written


def _states(mention: Mention) -> bool:
    return mention.fired and mention.verdict is None


def _blocks(mention: Mention) -> Sequence[BlockId]:
    return mention.edit_ids if mention.verdict is None else (mention.verdict,)
