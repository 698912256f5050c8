"""Attention within one text of a packed row is attention by a mask."""

from __future__ import annotations

import pytest
import torch

from lks.model.engine.packed_attention import _within


@pytest.mark.parametrize("cap", [None, 0.5])
@pytest.mark.parametrize("window", [None, 4, 50])
@pytest.mark.parametrize("new, before", [(1, 0), (1, 9), (7, 0), (7, 9)])
def test_each_token_sees_those_before_it(
    new: int, before: int, window: int | None, cap: float | None
) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 6, new, 8), *torch.randn(2, 1, 2, new + before, 8)
    found = _within(q, k, v, 0.3, window, cap)
    for head in range(6):
        for i in range(new):
            last = before + i + 1
            seen = slice(max(0, last - (window or last)), last)
            scores = 0.3 * k[0, head // 3, seen] @ q[0, head, i]
            scores = scores if cap is None else cap * torch.tanh(scores / cap)
            expected = scores.softmax(0) @ v[0, head // 3, seen]
            torch.testing.assert_close(found[0, head, i], expected)
