"""The scope of a pack, or of edits that are not trained yet, without the language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError
from lks.model.embedder import DEFAULT, CachedEmbedder, Embedder
from lks.packs import manifest as manifest_module
from lks.scope.gate.metric import GateState
from lks.scope.gate.prototypes import common_wordings
from lks.scope.gate.relation import RelationGate
from lks.scope.scope import KINDS, Scope


def scope_of_pack(path: Path, texts: Sequence[str]) -> Scope:
    """A pack's scope for these texts; the embedder is loaded only if one may fire."""
    manifest = manifest_module.verify(path)
    names = Scope(manifest_module.live_edits(path, manifest))
    if not (manifest.scope.gated and names.may_fire(texts)):
        return names

    from lks.packs.pack import Pack

    pack = Pack.load(path)
    assert pack.gate is not None
    embed = Embedder(pack.gate.embedder, expected=pack.gate.fingerprint)
    return Scope(pack.edits, RelationGate.of(pack.gate, embed, pack.edits))


def scope_of_edits(
    edits: EditSet, texts: Sequence[str], *, kind: str | None = None, embedder: str | None = None
) -> Scope:
    """The scope that edits would have, about: only those that the texts may fire are learnt from.

    Args:
        kind: `relation`, the default, or `entity`.
        embedder: what compares the questions.
    """
    if kind not in (None, *KINDS):
        raise InputError(f"--scope {kind}: unknown; one of {', '.join(KINDS)}")
    names = Scope(edits)
    if kind == "entity" or not (asked := names.may_fire(texts)):
        return names
    name = embedder or DEFAULT
    return Scope(edits, _untrained([edit for edit in edits if edit.id in asked], edits, name))


def _untrained(edits: Sequence[Edit], pool: EditSet, embedder: str) -> RelationGate:
    """A gate learnt from these edits alone, with their own wordings and those lent by all."""
    from lks.training.gate_metric import learn
    from lks.training.prompts import training_prompts
    from lks.training.train_pack import GATE_WORDINGS

    embed = CachedEmbedder(Embedder(embedder), common_wordings())
    prompts, _ = training_prompts(edits, pool, embed=embed, most=GATE_WORDINGS)
    metric, exemplars = learn(embed, edits, prompts)
    return RelationGate.of(GateState(metric, exemplars, embedder), embed, edits)
