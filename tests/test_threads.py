"""Many threads: what is in force changes whole, and nobody meets another's blocks."""

from __future__ import annotations

import copy
import gc
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

import pytest
import torch
from conftest import make_backbone, make_edits

from lks.blocks.bank import Bank, Place
from lks.blocks.forms import pooled, put_in
from lks.blocks.hypernetwork import HyperNetwork
from lks.blocks.in_force import InForce
from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.model.backbone import Backbone
from lks.model.engine.turns import Turns
from lks.packs.pack import Pack
from lks.packs.training_summary import TrainingSummary
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

ADA = Edit("ada-job", "Ada Lovelace", "Ada Lovelace worked as a", "London")
CONFIG = TrainingConfig(
    layer=1, epochs=1, lr=1e-2, refine_lr=5e-2, precision="float32", patience=0, scope="entity",
    tail_epochs=0, least_steps=4,
)  # fmt: skip
ASKED = ("Where is the Eiffel Tower?", "Where was Ada Lovelace born?", "Mount Fuji is in")
PAIRS = [(prompt, "Rome") for prompt in ASKED]
CHANGES, READERS = 2_000, 8
Change = Callable[[], object]


def random_pack(backbone: Backbone, *, seed: int = 0) -> Pack:
    """A pack of random blocks, large enough to be seen in every answer."""
    torch.manual_seed(seed)
    edits = make_edits()
    return Pack(
        edits=edits, blocks=4 * torch.randn(len(edits), 1, 32),
        hypernetwork=dict(HyperNetwork(32).state_dict()), base_model=backbone.fingerprint,
        layers=(1,), form="residual", kind="linear", scale=(1.5,),
        training=TrainingSummary(config=CONFIG.to_json()),
    )  # fmt: skip


@contextmanager
def often_switched() -> Iterator[None]:
    """Threads take turns ten times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def readings(model: ScalpelModel) -> Sequence[Callable[[], object]]:
    """Calls of several steps each, a batch for each prompt; each gives all that it saw."""
    edits = model.pack.edits
    return (
        lambda: model.score(PAIRS, batch_size=1),
        lambda: model.generate(ASKED, max_new_tokens=1, batch_size=1),
        lambda: model.generate(ASKED[:2], max_new_tokens=1, rescan=True),
        lambda: model.triggered(ASKED),
        lambda: [[m.mention.edit_ids for m in model.examine(prompt)] for prompt in ASKED[:1]],
        lambda: model.contradicted(edits),
    )


def changes(model: ScalpelModel, states: Sequence[InForce]) -> Iterator[tuple[int, Change]]:
    """(the state that it leads to, a change), 2,000 of them: states are swapped whole, or edits
    taken out and added."""
    for turn in range(CHANGES // 4):
        if turn % 50 == 0:
            yield 1, lambda: model.remove(["eiffel"])
            yield 0, lambda: model.restore(states[0])
            yield 3, lambda: model.add([ADA], refine=False)
            yield 0, lambda: model.remove([ADA.id])
        else:
            for state in (2, 1, 3, 0):
                yield state, partial(model.restore, states[state])


def test_an_answer_is_of_what_was_in_force_when_it_began_or_ended() -> None:
    """2,000 changes by one writer under eight readers."""
    model = ScalpelModel(backbone := make_backbone("llama"), random_pack(backbone))
    states = [model.in_force]
    for change in (
        lambda: model.remove(["eiffel"]), lambda: model.remove(["fuji", "ada-born"]),
        lambda: model.add([ADA], refine=False),
    ):  # fmt: skip
        model.restore(states[0])
        change()
        states.append(model.in_force)
    expected = []
    for state in states:
        model.restore(state)
        expected.append([read() for read in readings(model)])
    for kind in (0, 1, 2):  # a mixture would look like none of them
        assert len({str(own[kind]) for own in expected}) == len(states)

    model.restore(states[0])
    begun, done, over = [0], [0], Event()  # numbers of the states, in their order

    def write() -> None:
        try:
            for state, change in changes(model, states):
                begun.append(state)
                change()
                done.append(state)
                if len(done) % 3 == 0:  # each state lasts a while now and then
                    time.sleep(0.001)
        finally:
            over.set()

    def read(reader: int) -> list[int]:
        kind, seen = reader % len(expected[0]), []
        while not over.is_set():
            first = len(done) - 1
            found = readings(model)[kind]()
            possible = begun[first:]
            assert any(found == expected[state][kind] for state in possible), (kind, possible)
            seen.append(len(possible))
        return seen

    with often_switched(), ThreadPoolExecutor(READERS + 1) as pool:
        readers = [pool.submit(read, reader) for reader in range(READERS)]
        pool.submit(write).result()
        seen = [reader.result() for reader in readers]
    assert len(done) == 1 + CHANGES
    assert all(any(count > 1 for count in own) for own in seen)  # changes fell into calls of each


def test_edits_are_taken_out_while_the_model_writes() -> None:
    """As a server does: the edits that a call began with are there until it ends."""
    model = ScalpelModel(backbone := make_backbone("llama"), random_pack(backbone))
    everything = model.in_force
    answers = [model.generate(ASKED, max_new_tokens=4)]
    model.remove(["ada-born"])
    answers.append(model.generate(ASKED, max_new_tokens=4))
    with ThreadPoolExecutor(1) as pool:
        for _ in range(24):
            model.restore(everything)
            writing = pool.submit(model.generate, ASKED, max_new_tokens=4)
            model.remove(["ada-born"])
            assert writing.result() in answers


@pytest.fixture
def two_models() -> tuple[ScalpelModel, ScalpelModel]:
    """Two models of one backbone with other blocks, the second one's layer above the first's."""
    backbone = make_backbone("llama", chat=True)
    other = random_pack(backbone, seed=1)
    other.layers = (2,)
    return ScalpelModel(backbone, random_pack(backbone)), ScalpelModel(backbone, other)


@contextmanager
def writing(model: ScalpelModel) -> Iterator[None]:
    """Another thread that writes and scores with this model all the time."""
    over = Event()

    def write() -> None:
        while not over.is_set():
            model.score(PAIRS)
            model.generate(ASKED, max_new_tokens=1, do_sample=True)

    with often_switched(), ThreadPoolExecutor(1) as pool:
        busy = pool.submit(write)
        try:
            yield
        finally:
            over.set()
            busy.result()


def test_a_block_is_the_same_while_another_model_of_the_backbone_writes(
    two_models: tuple[ScalpelModel, ScalpelModel],
) -> None:
    one, other = two_models
    at_first, blocks = one.in_force, []
    for busy in (nullcontext(), writing(other), writing(one)):
        one.restore(at_first)
        with busy:
            one.add([ADA], epochs=2)
        blocks.append(one.blocks([ADA]))
    assert torch.equal(blocks[1], blocks[0])
    assert torch.equal(blocks[2], blocks[0])


def test_a_pack_is_the_same_while_a_model_of_the_backbone_writes(
    two_models: tuple[ScalpelModel, ScalpelModel],
) -> None:
    backbone, edits = two_models[0].backbone, make_edits()
    alone = train_pack(backbone, edits, CONFIG)
    with writing(two_models[1]):
        beside = train_pack(backbone, edits, CONFIG)
    assert torch.equal(alone.blocks, beside.blocks)


def test_the_same_answers_from_many_threads_through_a_relation_gate(embedder_folder: Path) -> None:
    """The sentence embedder is one for all threads."""
    backbone = make_backbone("llama")
    config = replace(CONFIG, scope="relation", embedder=str(embedder_folder))
    pack = train_pack(backbone, make_edits(), config)
    alone = ScalpelModel(backbone, pack).triggered(ASKED)
    for _ in range(5):
        model = ScalpelModel(backbone, pack)  # whose embedder is not loaded yet
        with often_switched(), ThreadPoolExecutor(READERS) as pool:
            found = [pool.submit(model.triggered, ASKED) for _ in range(4 * READERS)]
            assert all(own.result() == alone for own in found)


def test_a_bank_pools_the_blocks_of_a_place() -> None:
    blocks = torch.tensor([[[1.0, 0.0]] * 2, [[2.0, 0.0], [3.0, 0.0]], [[0.0, 4.0]] * 2])
    r = torch.tensor([[0.5, 0.5], [0.25, 0.0]])
    for form in ("residual", "replace"):
        bank = Bank.of(["a", "b", "c"], blocks, form=form, scale=[1.0, 0.1])
        plans = bank.plans(3, [Place(2, 7, ("c", "a")), Place(0, 5, ("b",))])
        own = pooled(form, blocks[[2, 0, 1]], torch.tensor([0, 0, 1]), 2)
        for layer, (plan, scale) in enumerate(zip(plans, [1.0, 0.1], strict=True)):
            assert (plan.batch, plan.rows.tolist(), plan.columns.tolist()) == (3, [2, 0], [7, 5])
            whole = put_in(form, r, own[:, layer], scale)
            assert torch.equal(plan.blocks(r, torch.tensor([0, 1])), whole)
            one = put_in(form, r[:1], blocks[1:2, layer], scale)
            assert torch.equal(plan.blocks(r[:1], torch.tensor([1])), one)
    smaller = bank.only(["c", "a"]).joined(["d"], torch.ones(1, 2, 2))
    assert smaller.of_edits(["d", "a"])[:, 0].tolist() == [[1, 1], [1, 0]]
    assert bank.of_edits(["a", "b", "c"]).equal(blocks)  # as it was
    with pytest.raises(KeyError, match="b"):
        smaller.of_edits(["b"])


def test_threads_take_turns_in_the_order_in_which_they_asked() -> None:
    turns, order = Turns(), []

    def take(number: int) -> None:
        with turns:
            order.append(number)

    with ThreadPoolExecutor(READERS) as pool:
        with turns, turns:  # a thread that has it may take it again
            for number in range(READERS):
                pool.submit(take, number)
                while len(turns._waiting) <= number:
                    time.sleep(1e-3)
            assert order == []
    assert order == list(range(READERS))


def test_backbones_around_one_model_wait_for_each_other() -> None:
    first = make_backbone("llama")
    second = Backbone(first.model, first.tokenizer)
    models = [ScalpelModel(own, random_pack(own, seed=i)) for i, own in enumerate((first, second))]
    alone = [model.score(PAIRS) for model in models]
    assert alone[0] != alone[1]
    with often_switched(), ThreadPoolExecutor(2) as pool:
        together = [pool.map(lambda _, m=m: m.score(PAIRS), range(40)) for m in models]
        for own, answers in zip(alone, together, strict=True):
            assert all(answer == own for answer in answers)
    with ThreadPoolExecutor(1) as pool:
        with first.in_use:
            with second.in_use:  # the thread that holds it may take it again
                pass
            waiting = pool.submit(models[1].score, PAIRS)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(60) == alone[1]


def test_a_lock_lasts_no_longer_than_its_model() -> None:
    backbone = make_backbone("llama")
    model = weakref.ref(backbone.model)
    copy.deepcopy(backbone.model)  # nothing in it that cannot be copied
    del backbone
    gc.collect()
    assert model() is None


def test_a_thread_that_is_interrupted_takes_no_turn() -> None:
    turns, held, over = Turns(), Event(), Event()

    def hold() -> None:
        with turns:
            held.set()
            over.wait()

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ThreadPoolExecutor(1) as pool:
            holding = pool.submit(hold)
            held.wait()
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt), turns:
                pass
            over.set()
            holding.result()
            pool.submit(turns.__enter__).result(timeout=5)
    finally:
        signal.signal(signal.SIGALRM, usual)
