"""Losses, examples, the loop: on a tiny model, in float32 and in seconds."""

from __future__ import annotations

import multiprocessing
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_backbone, make_edits
from safetensors import safe_open
from safetensors.torch import save_file

from lks.blocks.forms import pooled, put_in, state_size
from lks.blocks.hypernetwork import HyperNetwork
from lks.blocks.trainable import KnowledgeBlocks
from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError, InputError, LayerError
from lks.model.backbone import Backbone
from lks.model.engine.split_model import SplitModel
from lks.model.engine.tensor_store import TensorStore
from lks.packs.pack import Pack
from lks.scope.scope import Scope
from lks.training import checkpoint, losses, trainer
from lks.training.config import PRESETS, TrainingConfig
from lks.training.distributed import ProcessGroup
from lks.training.examples import build_examples, features
from lks.training.progress import Epoch
from lks.training.prompts import training_prompts
from lks.training.train_pack import train_pack
from lks.training.trainer import train

QUICK = TrainingConfig(
    layer=1,
    epochs=30,
    batch_size=2,
    lr=1e-2,
    refine_lr=5e-2,
    precision="float32",
    patience=0,
    tail_epochs=0,
    scope="entity",
)


# --- losses and forms ---------------------------------------------------------------------------


def test_losses_by_rows_have_the_values_and_gradients_of_all_at_once() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50)
    states, labels = (
        torch.randn(losses.LOGIT_ROWS + 5, 8),
        torch.randint(50, (losses.LOGIT_ROWS + 5,)),
    )
    weights, results = torch.randn(len(states)), []
    for way in (lambda f, s: losses.by_rows(f, s, labels), lambda f, s: f(s, labels)):
        leaf = states.clone().requires_grad_()
        values = way(lambda s, own: losses.nll(head(s), own), leaf)
        (values * weights).sum().backward()
        results.append((values, leaf.grad))
    for ours, whole in zip(*results, strict=True):
        assert torch.allclose(ours, whole, atol=1e-6)


def test_settings_that_follow_the_number_of_edits() -> None:
    open_, paper = TrainingConfig(), TrainingConfig.from_json({}, preset="paper")
    few, many = open_.for_edits(6), open_.for_edits(10_000)
    assert (few.epochs, few.batch_size, few.wordings) == (32, 6, 8)
    assert (many.epochs, many.batch_size, many.wordings) == (6, 64, 2)
    assert (few.w_loc, replace(open_, scope="entity").for_edits(6).w_loc) == (0.0, 0.3)
    assert many.for_edits(10_000) == many  # what is settled stays
    assert replace(open_, epochs=3, batch_size=7).for_edits(10_000).epochs == 3
    assert (paper.for_edits(10).epochs, paper.for_edits(10).batch_size) == (20, 32)


def test_losses_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])
    p = logits.softmax(-1)
    assert torch.allclose(losses.nll(logits, torch.tensor([0, 2])), -p[[0, 1], [0, 2]].log())
    other = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.5]])
    by_hand = (p[0] * (p[0] / other[0].softmax(-1)).log()).sum()
    assert torch.allclose(losses.kl(logits, other), torch.stack([by_hand, torch.tensor(0.0)]))
    values, owner = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2])
    assert losses.per_text(values, owner, 3, mean=True).tolist() == [2.0, 0.0, 5.0]
    assert losses.per_text(values, owner, 3, mean=False).tolist() == [4.0, 0.0, 5.0]


def test_forms_by_hand() -> None:
    r, owner = torch.ones(2, 3), torch.tensor([0, 0, 1])
    blocks = torch.tensor([[[1.0] * 3, [3.0] * 3], [[2.0] * 3, [5.0] * 3], [[4.0] * 3, [6.0] * 3]])
    added, mean = (pooled(form, blocks, owner, 2) for form in ("residual", "replace"))
    assert added[..., 0].tolist() == [[3.0, 8.0], [4.0, 6.0]]
    assert mean[..., 0].tolist() == [[1.5, 4.0], [4.0, 6.0]]
    assert put_in("residual", r, added[:, 0], 1.0)[:, 0].tolist() == [4.0, 5.0]
    assert put_in("replace", r, mean[:, 0], 1.0)[:, 0].tolist() == [1.5, 4.0]
    sink = torch.tensor([[100.0] * 3, [-3.0] * 3])  # one state far beyond three times s
    assert put_in("residual", sink, blocks[:2, 0], 1.0)[:, 0].tolist() == [4.0, -1.0]


def test_the_usual_size_is_not_moved_by_a_sink() -> None:
    assert state_size(torch.tensor([[1.0, -1.0], [2.0, 2.0], [900.0, 0.0]])) == 2.0


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_residual_starts_from_the_unedited_model(kind: str) -> None:
    features, r, scale = torch.randn(3, 8), torch.randn(2, 8), (2.0, 3.0)
    edits, owner = torch.tensor([0, 2]), torch.tensor([0, 1])
    made = KnowledgeBlocks(features, kind=kind, form="residual", scale=scale, refine=True)
    replaced = KnowledgeBlocks(features, kind=kind, form="replace", scale=scale, refine=False)
    for layer in (0, 1):
        assert torch.equal(made(edits, owner, 2)(layer, r), r)
        assert not torch.equal(replaced(edits, owner, 2)(layer, r), r)


def test_hypernetwork_shapes_and_kinds() -> None:
    assert HyperNetwork(8, "linear")(torch.randn(5, 8)).shape == (5, 1, 8)
    assert HyperNetwork(8, "mlp", layers=3)(torch.randn(5, 8)).shape == (5, 3, 8)
    assert sum(p.numel() for p in HyperNetwork(8, "mlp").parameters()) == 2 * 8 * 32 + 32 + 8
    with pytest.raises(ValueError, match="linear, mlp"):
        HyperNetwork(8, "cubic")


# --- examples -----------------------------------------------------------------------------------


def examples_of(backbone: Backbone, edits: EditSet, **settings):
    prompts, _ = training_prompts(edits)
    split = SplitModel(backbone, [1], torch.float32)
    options = {"chat": True, "kl_tokens": 2} | settings
    return build_examples(split, edits, prompts, Scope(edits), **options)[0]


def test_targets_end_with_end_of_text_in_both_styles(backbone: Backbone, edits: EditSet) -> None:
    plain, chat = examples_of(backbone, edits)[0].reliability
    eos, end = backbone.tokenizer.convert_tokens_to_ids(["<|eos|>", "<|end|>"])
    assert plain.labels[-1] == eos
    assert chat.labels[-1] == end
    assert backbone.tokenizer.decode(plain.labels[:-1]).strip() == "Rome"
    assert backbone.tokenizer.decode(chat.labels[:-1]).strip() == "Rome"


def test_training_scores_the_tokens_that_evaluation_does(backbone: Backbone) -> None:
    """A space that is a token of its own, as before digits, among them."""
    edit = Edit(
        "year", "Town", "Town was founded in", "1931", paraphrases=("When was Town founded?",)
    )
    (examples,) = examples_of(backbone, EditSet([edit]))
    for own, prompt in (
        (examples.reliability, edit.prompt),
        (examples.generality, *edit.paraphrases),
    ):
        for example in own:
            (score,) = UneditedModel(backbone).score([(prompt, "1931")], chat=example.chat)
            assert tuple(example.labels[:-1].tolist()) == score.tokens
    first = examples.reliability[0].labels[0]
    assert backbone.tokenizer.decode([first]) == " "


def test_both_facts_of_an_entity_fire_together(backbone: Backbone, edits: EditSet) -> None:
    example = examples_of(backbone, edits)[1].reliability[0]
    assert example.members.tolist() == [1, 2]
    assert example.owner.tolist() == [0, 0]


def test_locality_has_the_prompt_and_continuation(backbone: Backbone, edits: EditSet) -> None:
    (example, *_) = examples_of(backbone, edits, kl_tokens=3)[0].locality
    assert example.labels is None
    assert len(example.text.scored) == len(example.text.final) == 3


def test_without_a_template_there_is_one_style(edits: EditSet) -> None:
    assert len(examples_of(make_backbone("llama"), edits)[0].reliability) == 1


# --- the loop -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in ("llama", "gemma3", "gpt2") for kind in ("linear", "mlp")],
)
def test_training_makes_the_targets_likelier(name: str, kind: str, edits: EditSet) -> None:
    """A random model can be taught little, but its targets gain, plain and in a chat."""
    backbone = make_backbone(name, chat=True)
    pack = train_pack(
        backbone, edits, replace(QUICK, hypernetwork=kind, lr=3e-3, w_loc=0.0, epochs=15)
    )
    base, edited = UneditedModel(backbone), ScalpelModel(backbone, pack)
    pairs = [(edit.prompt, edit.target) for edit in edits]
    for chat in (False, True):
        gains = [
            sum(after.logprobs) - sum(before.logprobs)
            for before, after in zip(
                base.score(pairs, chat=chat), edited.score(pairs, chat=chat), strict=True
            )
        ]
        assert sum(gains) > 0.1
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


def test_locality_weight_keeps_other_questions(backbone: Backbone, edits: EditSet) -> None:
    ended = {}
    for weight in (0.01, 5.0):
        pack = train_pack(backbone, edits, replace(QUICK, w_loc=weight, epochs=10))
        ended[weight] = pack.training.losses["locality"]
    assert ended[5.0] < 0.5 * ended[0.01]


def test_a_seed_gives_the_same_pack_twice(backbone: Backbone, edits: EditSet) -> None:
    config = replace(QUICK, epochs=2)
    one, two = (train_pack(backbone, edits, config) for _ in range(2))
    assert torch.equal(one.blocks, two.blocks)


@pytest.mark.parametrize("at", [3, 6, 8])
def test_an_interrupted_run_resumes_to_the_same_losses(
    backbone: Backbone, edits: EditSet, tmp_path: Path, at: int
) -> None:
    config = replace(QUICK, epochs=6, tail_epochs=4)
    prompts, _ = training_prompts(edits)
    whole = train(backbone, edits, prompts, config)

    def interrupt(epoch) -> None:
        if epoch.number == at:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train(backbone, edits, prompts, config, checkpoints=tmp_path, on_epoch=interrupt)
    took = time.monotonic() - started
    resumed = train(backbone, edits, prompts, config, checkpoints=tmp_path, resume=True)
    assert resumed.epochs == whole.epochs
    assert 0 < resumed.earlier_seconds <= took
    every = torch.arange(len(edits), device=backbone.device)
    assert torch.equal(resumed.blocks.blocks(every), whole.blocks.blocks(every))


def _train_and_save(config: TrainingConfig, checkpoints: Path, out: Path) -> None:
    torch.set_num_threads(1)
    pack = train_pack(
        make_backbone("llama", chat=True), make_edits(), config,
        checkpoints=checkpoints, resume=(checkpoints / checkpoint.FILE).exists(),
    )  # fmt: skip
    pack.save(out)


def test_killed_many_times_training_still_ends_with_the_same_blocks(tmp_path: Path) -> None:
    config, rng, kills = replace(QUICK, epochs=4), random.Random(0), 0
    _train_and_save(config, tmp_path / "other", tmp_path / "whole.pack")
    file, out = tmp_path / "state" / checkpoint.FILE, tmp_path / "facts.pack"
    # Not forked from here: threads of earlier tests would be missing in the child.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["lks.editors.lks.model", "conftest"])
    for _ in range(config.epochs + 1):
        begun = file.stat().st_mtime_ns if file.exists() else 0
        process = processes.Process(target=_train_and_save, args=(config, file.parent, out))
        process.start()
        while process.is_alive() and (not file.exists() or file.stat().st_mtime_ns == begun):
            time.sleep(0.001)  # every run gets on by an epoch at least
        process.join(rng.uniform(0, 0.03))
        kills += process.is_alive()
        process.kill()
        process.join()
        if out.exists():
            break
    assert kills > 1
    assert torch.equal(Pack.load(out).blocks, Pack.load(tmp_path / "whole.pack").blocks)


def test_checkpoints_of_other_settings_are_refused(
    backbone: Backbone, edits: EditSet, tmp_path: Path
) -> None:
    prompts, _ = training_prompts(edits)
    config = replace(QUICK, epochs=1)
    with pytest.raises(InputError, match="no checkpoint"):
        train(backbone, edits, prompts, config, checkpoints=tmp_path, resume=True)
    train(backbone, edits, prompts, config, checkpoints=tmp_path)
    with pytest.raises(InputError, match="other edits, settings"):
        other = replace(config, lr=0.5)
        train(backbone, edits, prompts, other, checkpoints=tmp_path, resume=True)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x01\x02")
    with pytest.raises(InputError, match="damaged"):
        train(backbone, edits, prompts, config, checkpoints=tmp_path, resume=True)


def test_a_checkpoint_of_an_earlier_version_goes_on(
    backbone: Backbone, edits: EditSet, tmp_path: Path
) -> None:
    """Two settings and a mark of the last epochs had other names."""
    config = replace(QUICK, epochs=2, tail_epochs=2, learnt_loss=0.0)
    prompts, _ = training_prompts(edits)

    def interrupt(epoch: Epoch) -> None:
        if epoch.tail:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(backbone, edits, prompts, config, checkpoints=tmp_path, on_epoch=interrupt)
    file = tmp_path / checkpoint.FILE
    with safe_open(file, framework="pt") as stored:
        meta, tensors = stored.metadata(), {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    for now, then in (("tail_epochs", "finishing"), ("learnt_loss", "learnt")):
        meta["config"] = meta["config"].replace(f'"{now}"', f'"{then}"')
    meta["epochs"] = meta["epochs"].replace('"tail"', '"finishing"')
    save_file(tensors, file, meta)
    resumed = train(backbone, edits, prompts, config, checkpoints=tmp_path, resume=True)
    assert [epoch.tail for epoch in resumed.epochs] == [False, False, True, True]
    assert resumed.epochs == train(backbone, edits, prompts, config).epochs


def test_settings_of_an_earlier_version() -> None:
    old = {"finishing": 3, "learnt": 0.5, "lr": 0.01, "of_a_later_version": 1}
    expected = TrainingConfig(tail_epochs=3, learnt_loss=0.5, lr=0.01)
    assert TrainingConfig.from_pack(old) == expected
    del old["of_a_later_version"]
    assert TrainingConfig.from_json(old) == expected


def test_fewer_lent_prompts_are_the_first_ones() -> None:
    own = Edit("a", "Rome", "Rome lies in", "Peru", paraphrases=("Where is Rome?", "Rome is in"))
    other = Edit("b", "Oslo", "Oslo lies in", "Peru")
    prompts, _ = training_prompts([own, other], most=2)
    fewer = [p.at_most(1, e) for e, p in zip([own, other], prompts, strict=True)]
    assert [len(p.paraphrases) for p in fewer] == [2, 1]
    assert fewer == training_prompts([own, other], most=1)[0]


def test_progress_is_told(backbone: Backbone, edits: EditSet) -> None:
    told: list[tuple[str, int, int]] = []
    config = replace(QUICK, epochs=2, chat=False)
    train_pack(backbone, edits, config, on_progress=lambda *step: told.append(step))
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["reading", "training"]
    for stage in ("reading", "training"):
        done = [d for s, d, _ in told if s == stage]
        assert done == sorted(done)
        assert done[-1] == next(of for s, _, of in told if s == stage) > 0


def test_early_stopping(backbone: Backbone, edits: EditSet) -> None:
    pack = train_pack(backbone, edits, replace(QUICK, patience=2, target_loss=100.0))
    assert pack.training.epochs == 2
    pack = train_pack(backbone, edits, replace(QUICK, epochs=3, patience=2, target_loss=0.0))
    assert pack.training.epochs == 3


def test_edits_not_learnt_go_on_alone(backbone: Backbone, edits: EditSet) -> None:
    prompts, _ = training_prompts(edits)
    config = replace(QUICK, epochs=4, chat=False, w_loc=0.0)
    before = train(backbone, edits, prompts, config)
    every = torch.arange(len(edits), device=backbone.device)
    moved = []
    for learnt in (0.0, 10.0, 20.0, 1000.0):
        after = train(backbone, edits, prompts, replace(config, tail_epochs=8, learnt_loss=learnt))
        assert after.epochs[:4] == before.epochs
        assert all(epoch.tail for epoch in after.epochs[4:])
        ours, theirs = (t.blocks.hypernetwork.state_dict() for t in (after, before))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        differ = (after.blocks.blocks(every) != before.blocks.blocks(every)).any((1, 2))
        moved.append(int(differ.sum()))
        if learnt == 0:
            assert after.epochs[-1].reliability < before.epochs[-1].reliability
    assert moved[0] == len(edits)
    assert 0 < moved[1] + moved[2] < 2 * len(edits)
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] == 0


def test_an_edit_is_learnt_when_it_is_so_in_both_styles(backbone: Backbone, edits: EditSet) -> None:
    examples = examples_of(backbone, edits)
    read = features(examples).to(backbone.device)
    blocks = KnowledgeBlocks(read, kind="linear", form="residual", scale=[1.0], refine=True)
    blocks.to(backbone.device)
    split = SplitModel(backbone, [1], torch.float32)
    loop = trainer._Loop(split, blocks, examples, QUICK, TensorStore(), ProcessGroup())
    assert loop._not_learnt() == list(range(len(edits)))  # never read
    loop.latest[loop.latest.isinf()] = 0.0
    assert loop._not_learnt() == []
    loop.latest[2, 0, 1] = 1.0  # the own prompt, in a chat
    assert loop._not_learnt() == [2]


def test_paper_preset_is_the_papers() -> None:
    paper = PRESETS["paper"]
    assert (paper.form, paper.hypernetwork, paper.refine) == ("replace", "linear", False)
    assert (paper.least_steps, paper.alternate) == (0, False)
    assert (paper.lr, paper.epochs, paper.batch_size, paper.locality_a_step) == (1e-4, 20, 32, 2)
    assert (paper.w_rel, paper.w_gen, paper.w_loc) == (1, 1, 1)
    assert paper.resolve_layers(32) == (16,)


def test_settings_answer_back() -> None:
    with pytest.raises(InputError, match="did you mean batch_size"):
        TrainingConfig.from_json({"batchsize": 3})
    with pytest.raises(InputError, match=r"form must be replace or residual.*lr must be above 0"):
        TrainingConfig(lr=-1.0, form="other")
    with pytest.raises(InputError, match="default, paper"):
        TrainingConfig.from_json({}, preset="papers")


def test_edits_that_cannot_work(backbone: Backbone, edits: EditSet) -> None:
    with pytest.raises(LayerError, match="layer 9 is out of range: tiny-llama has layers 0 to 3"):
        train_pack(backbone, edits, replace(QUICK, layer=9))
    inside = Edit("p", "Paris", "Parisian cafés are", "closed")
    with pytest.raises(EditFileError, match="never fire") as caught:
        refused = Edit("no", "Oslo", "Oslo is in", "Peru", negative=("oslo is",))
        train_pack(backbone, EditSet([*make_edits(), inside, refused]), QUICK)
    problems = caught.value.problems
    assert 'edit "p"' in problems[0]
    assert problems[1:] == ['edit "no": one of its negatives stands in its own prompt']
    with pytest.raises(InputError, match="no edits to train"):
        train_pack(backbone, EditSet(), QUICK)
