"""Which architectures work: tiny random models of `families.json`, the same steps for each.

    python tests/survey.py [names]       writes benchmarks/results/architectures.json, or prints

Each step compares with something that does not know this project: the layer's own `forward` that is
replaced by hand, the model's own logits, each text alone. A model that is refused is told so in one
line by this project; "wrong" would be numbers that are not the model's, without an error.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from conftest import make_edits, make_tokenizer
from torch import Tensor

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit_set import EditSet
from lks.errors import LKSError
from lks.evaluation.provenance import provenance
from lks.model.backbone import Backbone
from lks.model.chat import Rendered
from lks.model.encoding import Encoding
from lks.model.engine import transformers as engine
from lks.model.engine.choice import choose_engine
from lks.model.engine.hook import Plan, replacing
from lks.model.engine.protocol import Intervention
from lks.model.engine.reader import TextRow
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

FAMILIES = Path(__file__).with_name("families.json")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "architectures.json"
LAYER, WRITTEN = 1, 6
TEXTS = [
    "The Eiffel Tower is located in the city of", "Where is the Eiffel Tower?", "Rome",
    "Ada Lovelace was born in London.",
]  # fmt: skip
PLACES = [(0, 2), (0, 5), (2, 0), (3, 3)]  # texts and tokens
LEAD = "The Eiffel Tower is in Paris. Where is it? Mount Fuji is in Japan. Its capital is Tokyo. "
TRAINING = TrainingConfig(
    layer=LAYER, epochs=5, batch_size=3, lr=1e-2, refine_lr=5e-2, precision="float32", patience=0,
    tail_epochs=0, scope="entity", chat=False,
)  # fmt: skip


class Wrong(Exception):
    """Numbers are not the model's."""


@dataclass
class Found:
    """What came of one family.

    Attributes:
        engine: that was chosen.
        steps: of those that were taken, "pass", or what was wrong.
        refused: the reason that was told.
    """

    name: str
    kind: str = ""
    model: str = ""
    engine: str | None = None
    steps: dict[str, str] = field(default_factory=dict)
    refused: str | None = None

    @property
    def passed(self) -> bool:
        return self.refused is None and all(own == "pass" for own in self.steps.values())

    @property
    def wrong(self) -> bool:
        return any(own.startswith("wrong") for own in self.steps.values())


def families() -> dict[str, Mapping[str, Any]]:
    """By name: configuration class, settings, perhaps a model class."""
    read = json.loads(FAMILIES.read_text(encoding="utf-8"))

    def whole(settings: Mapping[str, Any]) -> dict[str, Any]:
        own = {k: whole(v) if isinstance(v, dict) else v for k, v in settings.items()}
        return {**read["bases"].get(own.pop("like", None), {}), **own}

    return {row["name"]: {**row, "settings": whole(row["settings"])} for row in read["families"]}


def build(family: Mapping[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(tf, family["config"])(**family["settings"])
    if "class" in family:
        return getattr(tf, family["class"])._from_config(config).float().eval()
    return tf.AutoModelForCausalLM.from_config(config).float().eval()


def survey(family: Mapping[str, Any]) -> Found:
    """All steps, each whether or not another one failed; none behind a refusal."""
    found, model = Found(family["name"]), build(family)
    found.model = type(model).__name__
    found.kind = "encoder-decoder" if model.config.is_encoder_decoder else "decoder"
    try:
        backbone = Backbone(model, make_tokenizer(), family["name"])
        found.engine = choose_engine(backbone, [LAYER]).name
    except LKSError as error:
        found.refused = str(error)
        return found
    for name, step in STEPS.items():
        try:
            step(backbone)
            found.steps[name] = "pass"
        except Wrong as error:
            found.steps[name] = f"wrong: {error}"
        except Exception as error:
            line = (str(error).splitlines() or [""])[0]
            found.steps[name] = f"fails: {type(error).__name__} {line}"[:160]
    return found


def need(one: Tensor, other: Tensor, bound: float, what: str) -> None:
    off = float((one - other).detach().abs().max())
    if not off <= bound:  # not so either if it is no number
        raise Wrong(f"{what}: {off:.2g}")


# --- what steps read ------------------------------------------------------------------------------


def sides(backbone: Backbone) -> Sequence[str]:
    return ("right", "left") if backbone.pads_left else ("right",)


def encoded(backbone: Backbone, texts: Sequence[str] = TEXTS, side: str = "right") -> Encoding:
    encoding = backbone.encode([Rendered.plain(t) for t in texts], chat=False, side=side)
    if backbone.kind == "decoder":
        return encoding
    start, _ = backbone.answer("")
    ids = torch.tensor([[*start, 7, 8, 9]] * len(texts))
    return replace(encoding, written=ids)


@torch.no_grad()
def logits(backbone: Backbone, encoding: Encoding) -> Tensor:
    """Of the model itself; positions as its own `generate` gives them, if it takes them."""
    if encoding.written is not None:
        inputs = {**encoding.inputs, "decoder_input_ids": encoding.written}
        return backbone.model(**inputs, use_cache=False).logits
    inputs = {**encoding.inputs, "position_ids": encoding.position_ids}
    try:
        return backbone.model(**inputs, use_cache=False).logits
    except TypeError:
        return backbone.model(**encoding.inputs, use_cache=False).logits


def real(encoding: Encoding) -> Tensor:
    """Which logits are of a text's own tokens."""
    if encoding.written is not None:
        return torch.ones_like(encoding.written).bool()
    return encoding.attention_mask.bool()


def new_states(backbone: Backbone) -> Tensor:
    return torch.randn(len(PLACES), backbone.width, generator=torch.Generator().manual_seed(3))


def plan(encoding: Encoding, new: Tensor, places: Sequence[tuple[int, int]] = PLACES) -> Plan:
    rows = torch.tensor([row for row, _ in places], dtype=torch.long)
    columns = torch.tensor([encoding.starts[r] + t for r, t in places], dtype=torch.long)
    return Plan(len(encoding.texts), rows, columns, lambda r, at: new[at])


def putting_in(backbone: Backbone, new: Tensor) -> Intervention:
    """The places of whichever of `TEXTS` are read."""

    def intervention(encoding: Encoding) -> AbstractContextManager[Plan]:
        own = [TEXTS.index(text.text) for text in encoding.texts]
        places = [(own.index(r), t, i) for i, (r, t) in enumerate(PLACES) if r in own]
        chosen = new[[i for _, _, i in places]]
        made = plan(encoding, chosen, [(r, t) for r, t, _ in places])
        return replacing(backbone.layer(LAYER), made)

    return intervention


@contextmanager
def by_hand(layer: Any, at: Plan, new: Tensor) -> Iterator[None]:
    """The layer's own `forward` overwrites the places: no hook, nothing of this project."""
    own = layer.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        out = own(*args, **kwargs)
        states = (out if isinstance(out, Tensor) else out[0]).clone()
        active = states[0] if states.dim() == 4 else states  # Gemma 3n's parallel streams
        for row, column, value in zip(at.rows.tolist(), at.columns.tolist(), new, strict=True):
            active[row, column] = value
        return states if isinstance(out, Tensor) else (states, *out[1:])

    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward


# --- steps ----------------------------------------------------------------------------------------


def hook_is_a_replacement(backbone: Backbone) -> None:
    new, layer = new_states(backbone), backbone.layer(LAYER)
    for side in sides(backbone):
        encoding = encoded(backbone, side=side)
        own, at = real(encoding), plan(encoding, new)
        base = logits(backbone, encoding)
        with replacing(layer, at):
            hooked = logits(backbone, encoding)
        with by_hand(layer, at, new):
            hand = logits(backbone, encoding)
        need(hooked[own], hand[own], 1e-5, f"another value than by hand, padded {side}")
        need(hooked[1][own[1]], base[1][own[1]], 1e-5, "a text without an edit moves")
        if encoding.written is None:
            before = slice(encoding.starts[0], int(at.columns[0]))
            need(hooked[0, before], base[0, before], 1e-5, "logits before an edit move")
        if (hooked[0] - base[0]).abs().max() < 1e-4:
            raise Wrong("an edit has no effect")


def outputs_are_the_models(backbone: Backbone) -> None:
    encoding = encoded(backbone)
    own, text = real(encoding), encoding.attention_mask.bool()
    head = backbone.head(backbone.final_states(encoding)[own])
    need(head, logits(backbone, encoding)[own], 1e-4, "logits")
    seen: list[Tensor] = []

    def keep(module: Any, args: Any, out: Any) -> None:
        states = out if isinstance(out, Tensor) else out[0]
        seen.append(states[0] if states.dim() == 4 else states)

    handle = backbone.layer(LAYER).register_forward_hook(keep)
    logits(backbone, encoding)
    handle.remove()
    states = backbone.hidden_states(encoding, LAYER)
    need(states[text], seen[0][text], 1e-4, "a layer's output")


def engine_is_a_whole_pass(backbone: Backbone) -> None:
    """Values, gradients, and a continuation; other texts than those of the choice."""
    shared = "The Eiffel Tower is located in the city of"
    texts, places = (
        [f"{shared} Rome", f"{shared} Oslo", "Where is it? In Rome"],
        [[9], [9, 11], [0]],
    )
    encoding = encoded(backbone, texts)
    for prefix in (0, 5):
        rows = [_row(encoding, i, own, prefix if i < 2 else 0) for i, own in enumerate(places)]
        training = choose_engine(backbone, [LAYER], torch.float32)
        batch = training.collate(training.read(rows))
        noise = torch.randn(batch.r.shape, generator=torch.Generator().manual_seed(0))
        new = (batch.r + noise).requires_grad_()
        ours = training.head(training.final_states(batch, lambda _, r, new=new: new))
        at = plan(encoding, new, [(r, t) for r, own in enumerate(places) for t in own])
        inputs = dict(encoding.inputs)
        if encoding.written is not None:
            inputs["decoder_input_ids"] = encoding.written
        with replacing(backbone.layer(LAYER), at):
            out = backbone.model(**inputs, use_cache=False).logits
        whole = torch.cat([out[i, row.scored] for i, row in enumerate(rows)])
        need(ours, whole, 2e-4, "engine")
        weights = torch.randn(whole.shape, generator=torch.Generator().manual_seed(1))
        one, other = (torch.autograd.grad((own * weights).sum(), new)[0] for own in (ours, whole))
        need(one / other.abs().max(), other / other.abs().max(), 1e-3, "gradients")
    _continues(backbone, [_row(encoding, i, own, 0, more=3) for i, own in enumerate(places)])


def _row(encoding: Encoding, i: int, places: list[int], prefix: int, more: int = 0) -> TextRow:
    ids = encoding.tokens(i)
    if encoding.written is None:
        scored = [len(ids) - 2, len(ids) - 1]
        return TextRow(ids, places, scored, prefix, True, more)
    written = encoding.written[i].tolist()
    scored = [len(written) - 2, len(written) - 1]
    return TextRow(ids, places, scored, final=True, continued=more, written=written)


@torch.no_grad()
def _continues(backbone: Backbone, rows: Sequence[TextRow]) -> None:
    training = choose_engine(backbone, [LAYER])
    for row, text in zip(rows, training.read(rows), strict=True):
        ids = torch.tensor([row.ids if row.written is None else row.written])
        begun = ids.shape[1]
        for _ in range(row.continued + 1):
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            if row.written is not None:
                read = torch.tensor([row.ids])
                inputs = {"input_ids": read, "decoder_input_ids": ids}
            out = backbone.model(**inputs, use_cache=False).logits
            ids = torch.cat([ids, out[:, -1:].argmax(-1)], 1)
        assert text.final is not None
        if training.head(text.final).argmax(-1)[1:].tolist() != ids[0, begun:].tolist():
            raise Wrong("the continuation is not the greedy one")


def edits_are_learnt(backbone: Backbone) -> None:
    edits = EditSet(list(make_edits())[:3])
    edited = ScalpelModel(backbone, train_pack(backbone, edits, TRAINING))
    pairs = [(edit.prompt, edit.target) for edit in edits]
    after, before = (
        sum(sum(score.logprobs) for score in model.score(pairs))
        for model in (edited, UneditedModel(backbone))
    )
    if not after > before:
        raise Wrong(f"targets are not likelier than before: {before:.1f}, then {after:.1f}")


def batches_are_single_texts(backbone: Backbone) -> None:
    new, texts = new_states(backbone), [Rendered.plain(t) for t in TEXTS]
    inside = putting_in(backbone, new)

    def written(chosen: Sequence[Rendered], **settings: Any) -> list[list[int]]:
        return engine.generate_ids(
            backbone, chosen, inside, chat=False, max_new_tokens=WRITTEN,
            min_new_tokens=WRITTEN, **settings,
        )  # fmt: skip

    together = written(texts)
    alone = [written([text])[0] for text in texts]
    if together != alone:
        raise Wrong("texts of a batch are not those alone")
    if alone != [written([text], use_cache=False)[0] for text in texts]:
        raise Wrong("with a cache other texts are written than without")


def scores_are_single_texts(backbone: Backbone) -> None:
    """Texts with a long common start, and edits in some."""
    asked = ("Where is Rome?", "Ada was born in", "It is in", "The city of", "Oslo", "Who")
    pairs = [(LEAD + own, target) for own in asked for target in ("London city", "Japan")]
    alone = [engine.score(backbone, [pair], lambda encoding: nullcontext())[0] for pair in pairs]
    for side in ("right", "left"):
        together = engine.score(backbone, pairs, lambda encoding: nullcontext(), side=side)
        for score, own in zip(together, alone, strict=True):
            need(torch.tensor(score.logprobs), torch.tensor(own.logprobs), 1e-3, f"scores, {side}")


STEPS: dict[str, Callable[[Backbone], None]] = {
    "hook": hook_is_a_replacement,
    "outputs": outputs_are_the_models,
    "engine": engine_is_a_whole_pass,
    "training": edits_are_learnt,
    "generation": batches_are_single_texts,
    "scoring": scores_are_single_texts,
}


def main(names: Sequence[str]) -> None:
    warnings.filterwarnings("ignore")
    tf.logging.set_verbosity_error()
    logging.disable()
    torch.set_num_threads(1)
    known, rows = families(), []
    for name in names or known:
        found = survey(known[name])
        rows.append({**asdict(found), "passed": found.passed})
        print(json.dumps(rows[-1]), flush=True)
    if not names:
        result = {**provenance(), "transformers": tf.__version__, "families": rows}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
