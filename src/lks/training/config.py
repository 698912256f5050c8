"""Settings of training, and the two presets."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields, replace
from typing import TypeVar

from lks.errors import InputError
from lks.json_record import JsonObject
from lks.scope.config import PRESETS as SCOPES

Setting = int | float | str | None
T = TypeVar("T", int, float)


@dataclass(frozen=True)
class TrainingConfig:
    """How blocks are trained. The default is what did best on the default model.

    Attributes:
        layer: the decoder layer that is edited, or several of them; None takes the one at `depth`
            (0 to 1) of the model, or those at several depths.
        hypernetwork: `linear` or `mlp`; form: `replace` or `residual`.
        refine: train a refinement `delta_e` an edit (form `residual` only).
        lr, refine_lr: AdamW for the hypernetwork, lazy Adam for the refinements; both fall
            linearly to 0.
        scope: what fires an edit: `relation`, a text that names its entity and asks for its
            relation, `strict`, so by names as they are known only, or `entity`, every text that
            names it (the paper's); all in `lks.scope.config.PRESETS`.
        embedder: compares the questions, see `lks.model.embedder.Embedder`.
        exact: a target that was begun is said to its end, unless its edit says otherwise.
        w_rel, w_gen, w_loc: weights of the three losses; w_loc None is 0.3, or 0 where the scope
            keeps other questions away. Without a weight, locality prompts are not read.
        objective: `answer`, blocks learn to state their targets; or `distil`, in chats to answer
            as the model does when the fact stands in its prompt (`lks.training.teacher`).
        verdicts: whether questions for yes or no are answered so, by two blocks that all edits
            share (`lks.training.verdicts`); form `residual` and a relation gate only.
        epochs, batch_size: passes over the edits, and edits a step; 0 lets them follow the
            number of edits (`for_edits`). In a step each edit brings its prompt, a paraphrase
            and `locality_a_step` locality prompts, or one of these in turn (`alternate`).
        wordings: at most so many paraphrases (and locality prompts) are lent to an edit that
            brings none; 0 as above.
        least_steps: an epoch over a few edits makes so many rounds that it has this many steps.
        kl_tokens: scored places of a locality prompt: its last token and the first of the base
            model's own continuation.
        chat: train on prompts both plain and as a chat turn, where there is a template.
        tail_epochs: after the epochs over all edits, at most so many over those not learnt: in one
            of their texts the target's negative log-likelihood is `learnt_loss` (nats) or more.
            Only their refinements move.
        patience: stop early after so many epochs in which reliability and generality were below
            `target_loss`; 0 never stops early.
        precision: of the frozen upper layers: auto, float32 or bfloat16.
    """

    layer: int | tuple[int, ...] | None = None
    depth: float | tuple[float, ...] = 0.6
    hypernetwork: str = "mlp"
    form: str = "residual"
    refine: bool = True
    lr: float = 1e-3
    refine_lr: float = 6e-1
    epochs: int = 0
    batch_size: int = 0
    wordings: int = 0
    least_steps: int = 8
    w_rel: float = 1.0
    w_gen: float = 1.0
    w_loc: float | None = None
    objective: str = "answer"
    verdicts: bool = True
    alternate: bool = True
    locality_a_step: int = 1
    kl_tokens: int = 3
    chat: bool = True
    tail_epochs: int = 16
    learnt_loss: float = 0.2
    patience: int = 2
    target_loss: float = 0.05
    precision: str = "auto"
    scope: str = "relation"
    embedder: str = "duo"
    exact: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} must be {need}, not {value!r}"
            for name, value in asdict(self).items()
            if (need := _problem(name, value))
        ]
        if wrong:
            raise InputError("training settings: " + "; ".join(wrong))

    def resolve_layers(self, n_layers: int) -> tuple[int, ...]:
        """The layers to edit in a model of `n_layers`, in ascending order, each once."""
        depths = _several(self.depth)
        given = (
            [round(d * n_layers) for d in depths] if self.layer is None else _several(self.layer)
        )
        return tuple(sorted(set(given)))

    @property
    def locality_places(self) -> int:
        """Scored places of a locality prompt; 0 where their loss has no weight: none is read."""
        return self.kl_tokens if self.w_loc else 0

    def for_edits(self, n: int) -> TrainingConfig:
        """The same with nothing left open, for n edits.

        The hypernetwork learns from all edits: the more there are, the fewer passes it takes, and
        the larger the batches may be, which is what a machine does fast.
        """
        return replace(
            self,
            epochs=self.epochs or min(max(round(8 * (1000 / n) ** 0.4), 6), 32),
            batch_size=self.batch_size or min(max(n // 64, 8), 64, n),
            wordings=self.wordings or min(max(800 // n, 2), 8),
            w_loc=(0.0 if SCOPES[self.scope].gate else 0.3) if self.w_loc is None else self.w_loc,
        )

    def to_json(self) -> JsonObject:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, settings: JsonObject, *, preset: str = "default") -> TrainingConfig:
        """A preset with some settings changed; unknown names are answered with advice."""
        settings = _from_json(settings)
        if preset not in PRESETS:
            raise InputError(f"unknown preset '{preset}'; one of {', '.join(PRESETS)}")
        known = [f.name for f in fields(cls)]
        unknown = {
            name: (difflib.get_close_matches(name, known, n=1) or known)[0]
            for name in settings
            if name not in known
        }
        if unknown:
            told = [f"'{name}' (did you mean {near}?)" for name, near in unknown.items()]
            raise InputError(f"unknown training setting {', '.join(told)}")
        return replace(PRESETS[preset], **settings)

    @classmethod
    def from_pack(cls, settings: JsonObject) -> TrainingConfig:
        """The settings that a pack was trained with, as far as this version has them."""
        known = {own.name for own in fields(cls)}
        return cls(**{k: v for k, v in _from_json(settings).items() if k in known})


def todays(settings: JsonObject) -> JsonObject:
    """Settings under the names that they have now; packs and checkpoints may be older."""
    return {_RENAMED.get(name, name): value for name, value in settings.items()}


def _from_json(settings: JsonObject) -> JsonObject:
    """Settings as fields hold them, of whatever version."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in todays(settings).items()}


_RENAMED = {"finishing": "tail_epochs", "learnt": "learnt_loss"}
_MAY_BE_NONE = ("layer", "w_loc")
_SEVERAL = ("layer", "depth")
_ABOVE_0 = ("lr", "refine_lr", "kl_tokens")
_NOT_BELOW_0 = (
    *("w_rel", "w_gen", "w_loc", "epochs", "batch_size", "wordings", "least_steps"),
    *("locality_a_step", "tail_epochs", "learnt_loss", "patience", "seed"),
)
_CHOICES = {
    "form": ("replace", "residual"),
    "hypernetwork": ("linear", "mlp"),
    "objective": ("answer", "distil"),
    "scope": tuple(SCOPES),
    "precision": ("auto", "float32", "bfloat16"),
}


def _several(value: T | tuple[T, ...]) -> tuple[T, ...]:
    return value if isinstance(value, tuple) else (value,)


def _problem(name: str, value: Setting | tuple[Setting, ...]) -> str | None:
    """What a setting needs to be, if it is not."""
    if isinstance(value, tuple):
        if name not in _SEVERAL or not value:
            return "one or more" if name in _SEVERAL else "one value"
        return next((need for own in value if (need := _problem(name, own))), None)
    if value is None:
        return None if name in _MAY_BE_NONE else "given"
    if name in _CHOICES:
        *most, last = _CHOICES[name]
        return None if value in _CHOICES[name] else f"{', '.join(most)} or {last}"
    if isinstance(value, str):
        return None if name == "embedder" else "a number"
    if name in _ABOVE_0 and not value > 0:
        return "above 0"
    if name in _NOT_BELOW_0 and not value >= 0:
        return "0 or more"
    return "between 0 and 1" if name == "depth" and not 0 <= value < 1 else None


PRESETS = {
    "default": TrainingConfig(),
    # LKS, arXiv 2508.03741: layer 16 of 32, a linear hypernetwork, plain replacement.
    "paper": TrainingConfig(
        depth=0.5,
        hypernetwork="linear",
        form="replace",
        refine=False,
        lr=1e-4,
        epochs=20,
        batch_size=32,
        least_steps=0,
        alternate=False,
        w_loc=1.0,
        scope="entity",
        locality_a_step=2,
        chat=False,
        tail_epochs=0,
        patience=0,
    ),
}
