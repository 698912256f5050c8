"""Change what a language model says about an entity, without touching its weights."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Backbone": "lks.backbone",
    "Edit": "lks.edits",
    "EditSet": "lks.edits",
    "EditWarning": "lks.edits",
    "LKSError": "lks.errors",
    "Mention": "lks.scope",
    "Pack": "lks.pack",
    "Scalpel": "lks.scalpel",
    "ScalpelModel": "lks.scalpel",
    "Scope": "lks.scope",
    "TrainingConfig": "lks.training.config",
    "Unedited": "lks.editor",
    "evaluate": "lks.evaluation.runner",
    "train_pack": "lks.training.packs",
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
    "train_pack",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that `import lks` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lks' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
