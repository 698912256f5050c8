"""A set as it is served, for who asks an edited model: what is tested is what clients get."""

from __future__ import annotations

from collections.abc import Sequence

from lks.model.backbone import Backbone
from lks.model.chat import Prompt, messages
from lks.model.engine.protocol import Generation
from lks.scope.normalizer import BETWEEN
from lks.serving.delivery import Coming
from lks.serving.front import Reading, Watched, read
from lks.serving.protocol import Engine, EngineRequest, Sampling
from lks.serving.service import Snapshot


class ServedModel:
    """Asks an engine, greedily, with what is in force in a snapshot; None: the unedited model.

    Args:
        rescan: whether edits may fire in the model's own words.
    """

    def __init__(
        self, backbone: Backbone, engine: Engine, snapshot: Snapshot | None, *, rescan: bool = True
    ) -> None:
        self._backbone, self._engine, self._snapshot = backbone, engine, snapshot
        self._rescan = rescan

    def respond(
        self, prompts: Sequence[Prompt], *, chat: bool = False, max_new_tokens: int = 64
    ) -> list[Generation]:
        """What the model writes after each prompt; they are written together.

        Raises:
            EngineFailure: the engine could not go on.
        """
        readings = [read(self._backbone, self._snapshot, p, chat=chat) for p in prompts]
        stops = frozenset(self._backbone.stop_ids)
        sampling = Sampling(max_new_tokens, temperature=0.0, stop_ids=stops)
        begun = [self._begin(reading, sampling) for reading in readings]
        return [self._whole(reading, *own) for reading, own in zip(readings, begun, strict=True)]

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]:
        """Whether any edit fires, for each prompt."""
        if self._snapshot is None:
            return [False] * len(prompts)
        turns = [messages(prompt) for prompt in prompts]
        texts = [BETWEEN.join(turn["content"] for turn in own) for own in turns]
        return [bool(fired) for fired in self._snapshot.in_force.scope.fired(texts)]

    def _begin(self, reading: Reading, sampling: Sampling) -> tuple[Coming, Watched | None]:
        request = EngineRequest(reading.ids, sampling, reading.blocks, reading.targets)
        watched = reading.watch(request) if reading.watch and self._rescan else None
        return Coming(self._engine, request, watched), watched

    def _whole(self, reading: Reading, coming: Coming, watched: Watched | None) -> Generation:
        steps = coming.all()
        ids = [step.token for step in steps]
        text = self._backbone.tokenizer.decode(ids, skip_special_tokens=True)
        found = [*reading.found, *(watched.found if watched else ())]
        return Generation(text, steps[-1].finish, [own.finding for own in found])
