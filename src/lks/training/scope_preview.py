"""The scope of a pack, or of edits that are not trained yet, without the language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.model.embedder import DEFAULT, CachedEmbedder, Embedder
from lks.packs import manifest as manifest_module
from lks.packs.gate import read_gate
from lks.scope.config import preset
from lks.scope.gate.metric import GateState
from lks.scope.inspect.silent import check_edits_fire, warn_of_nameless
from lks.scope.scope import Scope


def scope_of_pack(path: Path, texts: Sequence[str]) -> Scope:
    """A pack's scope for these texts; the embedder is loaded only if one may fire."""
    manifest = manifest_module.verify(path)
    parts = [manifest_module.part_edits(path, part) for part in manifest.parts]
    edits = EditSet(edit for part in parts for edit in part if edit is not None)
    names = Scope(edits, config=manifest_module.parts_of(manifest))
    rows = [[i for i, edit in enumerate(part) if edit is not None] for part in parts]
    gate = read_gate(path, manifest, rows) if names.may_fire(texts) else None
    if gate is None:
        return names
    return names.gated(gate, Embedder(gate.embedder, expected=gate.fingerprint), edits)


def scope_of_edits(
    edits: EditSet, texts: Sequence[str], *, kind: str | None = None, embedder: str | None = None
) -> Scope:
    """The scope that edits would have, about: only those that the texts may fire are learnt from.

    Args:
        kind: what it is made of, one of `PRESETS`; `relation` if not given.
        embedder: what compares the questions.

    Raises:
        EditFileError: edits would never fire; training refuses them too.
    """
    parts = preset(kind or "relation")
    names = Scope(edits, config=parts)
    check_edits_fire(edits, names)
    warn_of_nameless(edits, names)
    if not parts.gate or not (asked := names.may_fire(texts)):
        return names
    some = [edit for edit in edits if edit.id in asked]
    embed = CachedEmbedder(Embedder(embedder or DEFAULT))
    return names.gated(_untrained(embed, some, edits), embed, some)


def _untrained(embed: CachedEmbedder, edits: Sequence[Edit], pool: EditSet) -> GateState:
    """A gate learnt from these edits alone, with their own wordings and those lent by all."""
    from lks.training.gate_metric import learn
    from lks.training.prompts import GATE_WORDINGS, training_prompts

    prompts, _ = training_prompts(edits, pool, embed=embed, most=GATE_WORDINGS)
    metric, exemplars = learn(embed, edits, prompts)
    return GateState(metric, exemplars, embed.name)
