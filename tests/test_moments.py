"""Moments of keys, and the text that they are taken from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import make_backbone

from lks.editors.baselines import statistics
from lks.editors.baselines.statistics import Sample, key_covariance, prefixes
from lks.errors import InputError
from lks.files import CACHE_VARIABLE


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def test_moments_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, file = make_backbone("llama"), tmp_path / "text.txt"
    file.write_text("The capital of Japan is Tokyo. " * 30, encoding="utf-8")
    sample = Sample(tokens=64, length=16, file=str(file))
    found = key_covariance(backbone, [1, 2], sample)
    ids = torch.tensor(backbone.tokenize(file.read_text(), chat=False)[0][:64]).view(4, 16)
    keys: list[torch.Tensor] = []
    backbone.layer(2).mlp.down_proj.register_forward_pre_hook(lambda m, args: keys.append(args[0]))
    backbone.decoder(ids.to(backbone.device))
    expected = keys[0].reshape(64, -1)
    assert torch.allclose(found[1], expected.T @ expected / 64, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(statistics, "_key_covariance", None)  # from the cache the second time
    assert torch.equal(key_covariance(backbone, [2], sample)[0], found[1])


def test_the_models_own_text_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, sample = make_backbone("llama"), Sample(tokens=40, length=8)
    (first,) = key_covariance(backbone, [1], sample)
    monkeypatch.setattr(statistics, "written", None)
    (second,) = key_covariance(backbone, [2], sample)
    assert first.shape == second.shape and not torch.equal(first, second)


@pytest.mark.parametrize(
    ("text", "said"), [("too short", "64 are wanted"), (None, "cannot be read")]
)
def test_bad_texts_for_moments(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "text.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=said):
        key_covariance(make_backbone("llama"), [1], Sample(tokens=64, file=str(file)))


def test_the_models_own_text_is_the_same_each_time() -> None:
    backbone = make_backbone("llama")
    before = torch.random.get_rng_state()
    one, two = (prefixes(backbone, 3) for _ in range(2))
    assert one == two and one[0] == "" and len(one) == 4
    assert torch.equal(torch.random.get_rng_state(), before)
    assert prefixes(backbone, 0) == [""]
