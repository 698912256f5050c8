"""The default embedder: two encoders side by side."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lks.model import hub
from lks.model.duo import Duo
from lks.model.embedder import DEFAULT, SAME, CachedEmbedder, Embedder
from lks.model.minilm import MiniLM
from lks.model.use import TunedUSE

TEXTS = ["Who runs it?", "", "東京 Ünïcödé 안녕", "Wo wurde it geboren?", "The capital of it is"]
SAME_HERE = SAME[DEFAULT]


@pytest.fixture(scope="module")
def duo() -> Duo:
    return Duo()


def cosines(duo: Duo, text: str, *others: str) -> NDArray[np.float32]:
    one, *rest = duo.encode([text, *others])
    found: NDArray[np.float32] = np.array(rest) @ one
    return found


def test_vectors_have_unit_length_and_keep_their_order(duo: Duo) -> None:
    found = duo.encode(TEXTS)
    assert (found.shape, found.dtype) == ((len(TEXTS), 512 + 384), np.float32)
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5
    alone = np.concatenate([duo.encode([text]) for text in TEXTS])
    assert np.abs(found - alone).max() < 1e-5
    assert np.abs(duo.encode(TEXTS[::-1]) - found[::-1]).max() < 1e-5


def test_a_cosine_is_the_mean_of_two(duo: Duo) -> None:
    texts = ["Who runs it?", "The chief executive of it is"]
    one, other = TunedUSE().encode(texts), duo._minilm.encode(texts)
    assert abs(cosines(duo, *texts)[0] - (one[0] @ one[1] + other[0] @ other[1]) / 2) < 1e-5


def test_minilm_is_another_one_once_tuned(duo: Duo) -> None:
    plain, texts = MiniLM(hub.fetch("minilm")), ["When is it open?", "Why is it open so late?"]
    before, after = (one[0] @ one[1] for one in (plain.encode(texts), duo._minilm.encode(texts)))
    assert before > after + 0.1


def test_other_languages_are_read_by_one_encoder_only(
    duo: Duo, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        duo._minilm, "encode", lambda texts: read.extend(texts) or np.zeros((len(texts), 384))
    )
    duo.encode(["Wo wurde it geboren?", "Who runs it?", "Кто руководит it?", "itの首都は"])
    assert read == ["Who runs it?"]


@pytest.mark.parametrize(
    "asked", ["Wo wurde it geboren?", "¿Dónde nació it?", "Dove è nato it?", "Где родился it?"]
)
def test_a_question_is_near_to_the_same_one_in_another_language(duo: Duo, asked: str) -> None:
    same, *others = cosines(
        duo, asked, "Where was it born?", "How old is it?", "Who runs it?", "What does it cost?"
    )
    assert same > SAME_HERE > max(others)


@pytest.mark.parametrize(
    ("asked", "same", "other"),
    [
        ("Who runs it?", "The chief executive of it is", "Who founded it?"),
        ("it opening times pls", "When is it open?", "When did it first open?"),
        ("Am I allowed to bring my dog to it?", "Pets at it are", "Who walks the dogs at it?"),
    ],
)
def test_what_is_asked_for_counts_and_not_the_words(
    duo: Duo, asked: str, same: str, other: str
) -> None:
    near, far = cosines(duo, asked, same, other)
    assert near > SAME_HERE > far


def test_it_is_the_default(duo: Duo) -> None:
    embed = Embedder()
    assert (embed.name, embed.fingerprint) == ("duo", duo.fingerprint)
    assert duo.fingerprint != TunedUSE().fingerprint
    assert (embed.quick.name, CachedEmbedder(embed).quick.name) == ("use", "use")
    assert Embedder("use").quick.quick.name == "use"


def test_the_quicker_one_is_loaded_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made, load = [], TunedUSE.__init__

    def counted(encoder: TunedUSE) -> None:
        made.append(encoder)
        load(encoder)

    monkeypatch.setattr(TunedUSE, "__init__", counted)
    embed = Embedder()
    quick = CachedEmbedder(embed).quick
    assert not made, "nothing is loaded before the first text"
    found = quick(TEXTS)
    embed(TEXTS)
    assert len(made) == 1
    assert np.array_equal(found, Embedder("use")(TEXTS))
    assert quick.fingerprint == TunedUSE().fingerprint
