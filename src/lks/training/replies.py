"""What blocks learn to reply in chats, beside their targets: as the objective has it."""

from __future__ import annotations

from collections.abc import Sequence

from lks.edits.edit import Edit
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.training import teacher
from lks.training.config import TrainingConfig
from lks.training.presence import Reply
from lks.training.progress import OnProgress
from lks.training.prompts import TrainingPrompts


def replies(
    backbone: Backbone,
    edits: Sequence[Edit],
    prompts: Sequence[TrainingPrompts],
    config: TrainingConfig,
    *,
    on_progress: OnProgress = lambda stage, done, of: None,
) -> list[list[Reply]]:
    """Replies to learn for each edit; none at all where the targets are all that is learnt, and
    none for profiles, which are no facts.

    Args:
        prompts: training prompts of each edit, in the same order.

    Raises:
        InputError: the model has no chat template.
    """
    if config.objective == "answer":
        return []
    if not (config.chat and backbone.has_chat and backbone.kind == "decoder"):
        raise InputError(
            f"{backbone.name}: the objective {config.objective} takes a decoder with a chat "
            "template, and chat not switched off; take the objective answer"
        )
    facts = [edit for edit in edits if not edit.profile_of]
    own = [p for edit, p in zip(edits, prompts, strict=True) if not edit.profile_of]
    told = iter(teacher.taught(backbone, facts, own, config.seed, on_progress))
    return [[] if edit.profile_of else next(told) for edit in edits]
