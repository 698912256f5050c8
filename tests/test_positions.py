from __future__ import annotations

from lks.model.offsets import last_token, tokens_from


def test_last_token_of_a_mention() -> None:
    offsets = [(0, 0), (0, 3), (3, 10), (10, 16), (16, 16), (16, 18)]
    assert last_token(offsets, 4, 16) == 3
    assert last_token(offsets, 0, 3) == 1
    assert last_token(offsets, 20, 25) is None
    assert last_token([(0, 1), (0, 1), (0, 1)], 0, 1) == 2  # one character in three byte tokens
    assert last_token([(0, 8)], 2, 2) is None  # nothing
    assert last_token([(0, 8)], 2, 4) == 0  # a token that is larger than the mention


def test_tokens_from_a_boundary() -> None:
    assert tokens_from([(0, 0), (0, 4), (4, 9), (9, 12)], 4) == 2
    assert tokens_from([(0, 4), (3, 9)], 4) == 1
    assert tokens_from([(0, 4)], 4) == 1
