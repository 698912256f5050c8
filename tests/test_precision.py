"""The precision in which a machine is fast is measured once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import make_backbone

from lks.model import kept
from lks.model.engine import precision


@pytest.fixture
def timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """What is measured, in turn."""
    found = [(1.0, 4.0), (4.0, 1.0)]
    monkeypatch.setattr(kept.files, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(precision, "_seconds", lambda: found.pop(0))
    return found


def test_it_is_measured_once_for_a_machine(
    timed: list[tuple[float, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = make_backbone("llama")
    backbone.model.to("cpu")
    assert [precision.fast_dtype(backbone) for _ in range(3)] == [torch.float32] * 3
    assert len(timed) == 1
    with monkeypatch.context() as patched:
        patched.setattr(precision, "_machine", lambda: "another")
        assert precision.cpu_dtype() == torch.bfloat16
    (kept_here,) = tmp_path.glob("precision-*[!r].npy")
    kept_here.write_bytes(b"damaged")
    timed.append((2.0, 1.0))
    assert precision.cpu_dtype() == torch.bfloat16


def test_both_precisions_are_timed() -> None:
    assert all(0 < seconds < 60 for seconds in precision._seconds())
    assert precision._machine() == precision._machine()
