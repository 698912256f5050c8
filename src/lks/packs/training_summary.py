"""What a pack tells of how it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lks.json_record import JsonObject, KeptRecord


@dataclass(frozen=True)
class TrainingSummary(KeptRecord):
    """How a pack was trained. Nothing but `config` is needed again: to add edits, and for `exact`.

    Attributes:
        config: the settings by name, as the version had them that trained the pack
            (`TrainingConfig.from_pack` reads them).
        epochs: done, those over edits not learnt counted too.
        seconds: of the whole training, interruptions left out.
        losses: mean loss, nats, by its kind.
        prompts: how the training prompts came about, in edits (`PromptReport`).
        dropped_texts: training texts in which no edit fires.
        peak_memory_bytes: of the process; None if it was not measured.
    """

    config: JsonObject = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    losses: Mapping[str, float] = field(default_factory=dict)
    prompts: Mapping[str, int] = field(default_factory=dict)
    dropped_texts: int = 0
    peak_memory_bytes: int | None = None

    @property
    def exact(self) -> bool:
        """Whether the targets of edits that do not say it themselves are said whole."""
        return bool(self.config.get("exact", True))
