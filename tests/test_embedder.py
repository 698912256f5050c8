"""The sentence embedder, whichever it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lks.edits.edit import Edit
from lks.errors import MissingExtra, ModelError, PackMismatch
from lks.files import CACHE_VARIABLE
from lks.model.embedder import REMEMBERED, USUALLY, CachedEmbedder, Embedder
from lks.training.gate_metric import learn
from lks.training.prompts import TrainingPrompts


@pytest.fixture
def embed(embedder_folder: Path) -> Embedder:
    return Embedder(str(embedder_folder))


def test_vectors_have_unit_length_and_keep_their_order(embed: Embedder) -> None:
    vectors = embed(["born in", "speak", "born in"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(vectors[0], vectors[2])
    assert embed([]).shape == (0, 64)


class Counting:
    """Gives each text the vector of its number; keeps what it was asked."""

    fingerprint = "counting"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[float(text)] for text in texts], np.float32)


def test_what_was_asked_lately_is_not_read_again() -> None:
    model = Counting()
    embed = Embedder("counting", loaded=lambda: model)
    assert embed(["1", "2", "1"])[:, 0].tolist() == [1, 2, 1]
    assert embed(["3", "2"])[:, 0].tolist() == [3, 2]
    assert model.asked == ["1", "2", "3"]
    embed([str(number) for number in range(100, 100 + REMEMBERED)])  # forgotten by that
    assert embed(["1"])[0, 0] == 1
    assert model.asked[-1] == "1"
    before = len(embed._lately)
    embed([str(number) for number in range(REMEMBERED + 1)])  # too many: none pushes others out
    assert len(embed._lately) == before == REMEMBERED


def test_vectors_that_every_process_asks_for_are_kept(
    embed: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    texts = ["where", "born in"]
    made = embed.kept(texts)
    assert np.array_equal(made, embed(texts))
    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "__call__", lambda *given: pytest.fail("made again"))
        assert np.array_equal(embed.kept(texts), made)
        assert np.array_equal(CachedEmbedder(embed).quick.kept(texts), made)
    (file,) = tmp_path.rglob("*.npy")
    file.write_bytes(file.read_bytes()[:60])  # as if the disk had been full
    assert np.array_equal(embed.kept(texts), made)
    assert np.array_equal(embed.kept(texts[:1]), made[:1])


def test_each_embedder_says_from_where_on_texts_ask_the_same(embed: Embedder) -> None:
    edits = [
        Edit("born", "Ada Lovelace", "Ada Lovelace was born in", "Oslo"),
        Edit("speaks", "Ada Lovelace", "The native language of Ada Lovelace is", "Spanish"),
    ]
    assert CachedEmbedder(embed).same == embed.same == USUALLY != Embedder().same
    metric, _ = learn(CachedEmbedder(embed), edits, [TrainingPrompts()] * 2)
    assert metric.threshold == USUALLY


def test_unknown_embedders_and_others_than_the_packs() -> None:
    with pytest.raises(ModelError, match="unknown embedder 'mini'; give duo, use, minilm, a"):
        Embedder("mini")(["a"])


def test_without_its_extra_another_embedder_says_what_to_install(
    embedder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r'sentence-transformers: pip .*\[embedders\]"$'):
        Embedder(str(embedder_folder))(["a"])


def test_another_embedder_than_the_packs_is_refused(embedder_folder: Path) -> None:
    assert Embedder(str(embedder_folder), expected=Embedder(str(embedder_folder)).fingerprint)(
        ["a"]
    )[0].shape == (64,)
    with pytest.raises(PackMismatch, match="another embedder"):
        Embedder(str(embedder_folder), expected="beef")(["a"])
