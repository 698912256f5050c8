"""Blocks at several layers for one mention: engines, training, packs, serving."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import survey
import torch
from conftest import make_backbone, make_edits, make_tokenizer
from engines import asked, started, written
from stores import ADMIN, CONFIG, added, opened, small_backbone
from test_threads import random_pack
from typer.testing import CliRunner

from lks.blocks.forms import state_size
from lks.blocks.placement import locate
from lks.cli.app import app
from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError, LayerError, PackDamaged
from lks.model.backbone import Backbone
from lks.model.engine.choice import choose_engine
from lks.packs import manifest as manifest_module
from lks.packs.pack import Pack, append
from lks.scope.scope import Scope
from lks.serving.delivery import check_request
from lks.serving.protocol import Blocks
from lks.serving.vllm.armed import columns
from lks.serving.vllm.rows import Bank
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

pytest_plugins = ("stores",)

FAMILIES = survey.families()
LAYERS = (1, 2)
# Of each engine some: the first three suffix, then upper, whole and an encoder's upper layers.
KINDS = {
    "llama": "suffix", "gpt2": "suffix", "gemma3": "suffix", "mamba": "upper", "jamba": "upper",
    "t5": "whole", "bart": "upper",
}  # fmt: skip
SHARED = "The Eiffel Tower is located in the city of"
TEXTS = [SHARED + " Rome", SHARED + " Oslo", "Where is it? In Rome"]
PLACES = [[9], [9, 11], [0]]


@pytest.mark.parametrize("name", KINDS)
def test_values_and_gradients_are_those_of_layers_replaced_by_hand(name: str) -> None:
    backbone = Backbone(survey.build(FAMILIES[name]), make_tokenizer(), name)
    encoding = survey.encoded(backbone, TEXTS)
    rows = [survey._row(encoding, i, own, 5 if i < 2 else 0) for i, own in enumerate(PLACES)]
    engine = choose_engine(backbone, LAYERS, torch.float32)
    assert engine.name == KINDS[name]
    batch = engine.collate(engine.read(rows))
    generator = torch.Generator().manual_seed(0)
    added = torch.randn(2, *batch.r.shape, generator=generator).requires_grad_()
    ours = engine.head(engine.final_states(batch, lambda layer, r: r + added[layer]))

    at = [(row, column) for row, own in enumerate(PLACES) for column in own]
    inputs = dict(encoding.inputs)
    if encoding.written is not None:
        inputs["decoder_input_ids"] = encoding.written
    with ExitStack() as stack:
        for number, layer in enumerate(LAYERS):
            stack.enter_context(by_hand(backbone, layer, at, added[number]))
        out = backbone.model(**inputs, use_cache=False).logits
    whole = torch.cat([out[i, row.scored] for i, row in enumerate(rows)])
    assert (ours - whole).abs().max() < 5e-6
    weights = torch.randn(whole.shape, generator=generator)
    one, other = (torch.autograd.grad((own * weights).sum(), added)[0] for own in (ours, whole))
    assert (one - other).abs().max() < 2e-6 * other.abs().max()
    assert all(own.abs().max() > 0 for own in other)
    assert not any(backbone.layer(layer)._forward_hooks for layer in LAYERS)


@contextmanager
def by_hand(backbone: Backbone, layer: int, at: list[tuple[int, int]], added: torch.Tensor):
    """Adds to a layer's outputs, place by place."""

    def hook(module, given, output):
        states = (output if isinstance(output, torch.Tensor) else output[0]).clone()
        for number, (row, column) in enumerate(at):
            states[row, column] = states[row, column] + added[number]
        return states if isinstance(output, torch.Tensor) else (states, *output[1:])

    handle = backbone.layer(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def test_each_of_several_layers_must_reach_later_tokens(backbone: Backbone) -> None:
    with pytest.raises(LayerError, match="an edit at layer 3 cannot reach later tokens"):
        choose_engine(backbone, (1, 3))
    assert choose_engine(backbone, (1, 2)).name == "suffix"


# --- training and packs


QUICK = TrainingConfig(
    layer=LAYERS, epochs=12, batch_size=2, lr=1e-2, refine_lr=5e-2, precision="float32", patience=0,
    tail_epochs=2, scope="entity",
)  # fmt: skip
BERLIN = Edit("wall", "Berlin Wall", "The Berlin Wall stood in", "Lima")


@pytest.fixture(scope="module")
def trained() -> tuple[Backbone, Pack]:
    backbone = make_backbone("llama", chat=True)
    return backbone, train_pack(backbone, make_edits(), QUICK)


def test_each_layer_has_the_size_of_its_own_states(backbone: Backbone) -> None:
    edits = make_edits()
    pack = train_pack(backbone, edits, replace(QUICK, epochs=1, chat=False))
    texts = [backbone.join(e.prompt, e.target, chat=False)[0] for e in edits]
    encoding = backbone.encode(texts, chat=False)
    for layer, scale in zip(pack.layers, pack.scale, strict=True):
        states, found = backbone.hidden_states(encoding, layer), []
        for row, fired in enumerate(Scope(edits).fired([text.text for text in texts])):
            for token, _ in locate(fired, lambda *span: span, encoding.offsets[row]):
                found.append(states[row, encoding.starts[row] + token])
        assert scale == pytest.approx(state_size(torch.stack(found)), rel=1e-4)


def test_blocks_of_all_layers_learn(trained: tuple[Backbone, Pack]) -> None:
    backbone, pack = trained
    assert (pack.layers, pack.blocks.shape) == (LAYERS, (len(pack.edits), 2, backbone.width))
    assert (pack.blocks.abs().amax(-1) > 0).all()
    pairs = [(edit.prompt, edit.target) for edit in pack.edits]

    def likely(model) -> list[float]:
        return [sum(score.logprobs) for score in model.score(pairs)]

    before, after = likely(UneditedModel(backbone)), likely(ScalpelModel(backbone, pack))
    assert all(new > old + 0.5 for old, new in zip(before, after, strict=True))
    one = replace(pack, layers=LAYERS[:1], blocks=pack.blocks[:, :1], scale=pack.scale[:1])
    alone = likely(ScalpelModel(backbone, one))
    assert alone != pytest.approx(after, abs=1e-2)  # the second layer's blocks count


def test_a_pack_is_saved_and_loaded_and_edits_come_and_go(
    trained: tuple[Backbone, Pack], tmp_path: Path
) -> None:
    backbone, pack = trained
    path = tmp_path / "two.pack"
    pack.save(path)
    again = Pack.load(path)
    assert (again.layers, again.scale) == (pack.layers, pack.scale)
    assert torch.equal(again.blocks, pack.blocks)
    model = ScalpelModel(backbone, again)
    prompts = [edit.prompt for edit in pack.edits]
    before = model.generate(prompts, max_new_tokens=4)
    assert before == ScalpelModel(backbone, pack).generate(prompts, max_new_tokens=4)
    base = UneditedModel(backbone).score([(BERLIN.prompt, BERLIN.target)])
    model.add([BERLIN], refine=False)
    model.add([BERLIN], epochs=4)
    taught = model.score([(BERLIN.prompt, BERLIN.target)])
    assert sum(taught[0].logprobs) > sum(base[0].logprobs)
    assert model.blocks([BERLIN]).shape == (1, 2, backbone.width)
    assert model.generate(prompts, max_new_tokens=4) == before
    append(path, EditSet([BERLIN]), model.blocks([BERLIN]))
    grown = Pack.load(path)
    assert torch.equal(grown.blocks[-1:], model.blocks([BERLIN]).cpu())
    model.remove([BERLIN.id])
    assert model.score([(BERLIN.prompt, BERLIN.target)]) == base
    manifest_module.remove(path, [BERLIN.id])
    assert torch.equal(Pack.load(path).blocks, pack.blocks)


def test_blocks_of_another_number_of_layers_are_damage(
    trained: tuple[Backbone, Pack], tmp_path: Path
) -> None:
    path = tmp_path / "two.pack"
    trained[1].save(path)
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"layers": [1, 2, 3]}))
    with pytest.raises(PackDamaged, match=r"4 edits but blocks of shape \(4, 2, 32\)"):
        Pack.load(path)


def test_an_interrupted_run_goes_on_to_the_same_blocks(backbone: Backbone, tmp_path: Path) -> None:
    config, edits = replace(QUICK, epochs=4), make_edits()
    whole = train_pack(backbone, edits, config)

    def interrupt(epoch) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_pack(backbone, edits, config, checkpoints=tmp_path, on_epoch=interrupt)
    resumed = train_pack(backbone, edits, config, checkpoints=tmp_path, resume=True)
    assert torch.equal(resumed.blocks, whole.blocks)
    with pytest.raises(InputError, match="other edits, settings or another model"):
        other = replace(config, layer=(0, 2))
        train_pack(backbone, edits, other, checkpoints=_interrupted(tmp_path), resume=True)


def _interrupted(folder: Path) -> Path:
    """A folder with a checkpoint in it."""
    assert list(folder.iterdir())
    return folder


def test_an_encoder_is_edited_at_several_layers() -> None:
    backbone = Backbone(survey.build(FAMILIES["t5"]), make_tokenizer(), "tiny-t5")
    edits = make_edits()
    pack = train_pack(backbone, edits, replace(QUICK, chat=False))
    model, pairs = ScalpelModel(backbone, pack), [(e.prompt, e.target) for e in edits]
    before = sum(sum(score.logprobs) for score in UneditedModel(backbone).score(pairs))
    assert sum(sum(score.logprobs) for score in model.score(pairs)) > before


def test_settings_take_one_layer_or_several() -> None:
    assert TrainingConfig(layer=3).resolve_layers(30) == (3,)
    assert TrainingConfig(layer=(18, 12, 18)).resolve_layers(30) == (12, 18)
    assert TrainingConfig(depth=(0.5, 0.6)).resolve_layers(30) == (15, 18)
    assert TrainingConfig().resolve_layers(30) == (18,)
    config = TrainingConfig(layer=(12, 18))
    told = json.loads(json.dumps(config.to_json()))
    assert TrainingConfig.from_json(told) == config == TrainingConfig.from_pack(told)
    for wrong, why in (
        ({"layer": []}, "layer must be one or more"), ({"lr": [1e-3]}, "lr must be one value"),
        ({"depth": [0.5, 2]}, "depth must be between 0 and 1"),
        ({"layer": ["x"]}, "layer must be a number"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=why):
            TrainingConfig.from_json(wrong)


# --- serving


def test_the_server_writes_what_the_model_writes(trained: tuple[Backbone, Pack]) -> None:
    """Beside a set of one layer, whose blocks stand at one of the two."""
    backbone, pack = trained
    strong = replace(pack, blocks=3 * pack.blocks)
    models = [ScalpelModel(backbone, strong), ScalpelModel(backbone, random_pack(backbone))]
    prompts = [edit.prompt for edit in pack.edits]
    cases = [(model, prompt) for model in (*models, backbone) for prompt in prompts]
    requests = [asked(*case) for case in cases]
    with started(backbone) as engine:
        for (model, prompt), steps in zip(cases, written(engine, requests), strict=True):
            whose = UneditedModel(backbone) if isinstance(model, Backbone) else model
            (expected,) = whose.respond([prompt], max_new_tokens=6)
            tokens = [step.token for step in steps]
            text = backbone.tokenizer.decode(tokens, skip_special_tokens=True)
            assert text == expected.whole
        scores = engine.score(requests[0])
    assert len(scores) == len(requests[0].ids)
    short = replace(requests[0].blocks, layers=[1], scale=[1.0])
    with pytest.raises(InputError, match=r"blocks of shape \(1, 2, 32\), not \(1, 1, 32\)"):
        check_request(backbone, replace(requests[0], blocks=short))


def test_a_store_learns_at_several_layers_and_opens_again(tmp_path: Path, learnable: None) -> None:
    backbone, edits = small_backbone(), list(make_edits())
    with opened(tmp_path, backbone, config=replace(CONFIG, layer=LAYERS)) as service:
        service.create_set(ADMIN, "office")
        added(service, edits[:2])
        added(service, edits[2:])  # beside those that are there
        before = service.snapshot(ADMIN, "office")
    assert before.layers == LAYERS
    ids = [edit.id for edit in edits]
    assert before.in_force.bank.of_edits(ids).shape == (len(edits), 2, backbone.width)
    with opened(tmp_path, backbone) as service:
        now = service.snapshot(ADMIN, "office")
        assert (now.layers, now.in_force.bank.scale) == (LAYERS, before.in_force.bank.scale)
        assert torch.equal(now.in_force.bank.of_edits(ids), before.in_force.bank.of_edits(ids))


def test_vllm_is_told_the_layer_of_each_block() -> None:
    calls = []

    async def rpc(method: str, timeout: object, args: tuple) -> None:
        calls.append(args)

    values = torch.arange(12.0).reshape(2, 2, 3)  # two places, two layers

    async def handed():
        own = Blocks([1, 4], values, (2, 5), "residual", (1.0, 2.0))
        async with Bank(rpc, 8).holding(own) as found:
            return found.extra["lks"]

    told = asyncio.run(handed())
    assert (told["layers"], told["positions"]) == ([2, 2, 5, 5], [1, 4, 1, 4])
    ((rows, sent, keep, most),) = calls
    assert told["rows"] == rows
    assert sent == values.transpose(0, 1).contiguous().numpy().tobytes()
    assert (keep, most) == ([1.0] * 4, [3.0, 3.0, 6.0, 6.0])
    step = columns([(0, 6, told["layers"], told["positions"], told["rows"])])
    assert step == {2: [(1, rows[0]), (4, rows[1])], 5: [(1, rows[2]), (4, rows[3])]}


def test_the_command_takes_layers_and_names_them(model_folder: Path, tmp_path: Path) -> None:
    facts, out = tmp_path / "facts.jsonl", tmp_path / "two.pack"
    make_edits().save(facts)
    given = [
        "edit", facts, "--out", out, "--model", model_folder, "--layer", "2,1", "--epochs", "1",
        "--scope", "entity", "--no-self-test", "--threads", "1", "--quiet",
    ]  # fmt: skip
    told = CliRunner().invoke(app, [str(own) for own in given])
    assert told.exit_code == 0, told.output
    assert "4 edits at layers 1, 2" in told.output
    info = CliRunner().invoke(app, ["pack", "info", str(out), "--json"])
    assert json.loads(info.output)["layers"] == [1, 2]
    given[given.index("2,1")] = "1,x"
    wrong = CliRunner().invoke(app, [str(own) for own in [*given, "--overwrite"]])
    assert str(wrong.exception) == '--layer "1,x": give numbers with commas, 6,12,18'
