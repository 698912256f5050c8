"""Change what a language model says about an entity, without touching its weights."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Backbone": "lks.model.backbone",
    "Edit": "lks.edits.edit",
    "EditSet": "lks.edits.edit_set",
    "EditWarning": "lks.edits.edit_set",
    "LKSError": "lks.errors",
    "Mention": "lks.scope.types",
    "Pack": "lks.packs.pack",
    "Scalpel": "lks.editors.lks.editor",
    "ScalpelModel": "lks.editors.lks.model",
    "Scope": "lks.scope.scope",
    "TrainingConfig": "lks.training.config",
    "Unedited": "lks.editors.unedited",
    "evaluate": "lks.evaluation.runner",
    "self_test": "lks.evaluation.self_test",
    "train_pack": "lks.training.train_pack",
}

__all__ = [
    "Backbone",
    "Edit",
    "EditSet",
    "EditWarning",
    "LKSError",
    "Mention",
    "Pack",
    "Scalpel",
    "ScalpelModel",
    "Scope",
    "TrainingConfig",
    "Unedited",
    "evaluate",
    "self_test",
    "train_pack",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that `import lks` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lks' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
