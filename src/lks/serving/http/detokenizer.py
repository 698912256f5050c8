"""From token ids to text, one token after the other; no half characters come out."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from functools import cached_property

from lks.model.tokens import special_ids
from lks.model.untyped import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_letters() -> dict[str, int]:
    """The letters that byte-level tokenizers write bytes with."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): byte for byte in plain}
    return letters | {chr(256 + place): byte for place, byte in enumerate(others)}


class Vocabulary:
    """What each token of a tokenizer says: bytes, as a character may be made of several tokens.

    Safe in any thread: what is computed twice is the same.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bytes] = {}
        self.special = special_ids(tokenizer)
        self.size = len(tokenizer)

    def bytes_of(self, token: int) -> bytes:
        """What the token writes behind other text; special tokens write nothing."""
        found = self._known.get(token)
        if found is None:
            found = self._known[token] = b"" if token in self.special else self._read(token)
        return found

    def label(self, token: int) -> tuple[str, bytes]:
        """(text, bytes) of a token by itself, as log-probabilities name it; special tokens too."""
        if token in self.special:
            text = str(self._tokenizer.convert_ids_to_tokens(token))
            return text, text.encode()
        own = self.bytes_of(token)
        try:
            return own.decode(), own
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in own), own

    def text(self, ids: list[int]) -> str:
        return b"".join(map(self.bytes_of, ids)).decode("utf-8", "replace")

    def _read(self, token: int) -> bytes:
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # models may have more rows than their tokenizer has tokens
            return b""
        if match := _BYTE.fullmatch(piece):
            return bytes([int(match[1], 16)])
        whole = token in self._added  # written as it stands there
        if self._letters and not whole and all(letter in self._letters for letter in piece):
            return bytes(self._letters[letter] for letter in piece)
        before, both = self._decoded([self._anchor]), self._decoded([self._anchor, token])
        return both.removeprefix(before).encode("utf-8", "replace")

    @cached_property
    def _letters(self) -> Mapping[str, int]:
        """Of a byte-level tokenizer; none for others."""
        decoder = self._tokenizer.backend_tokenizer.decoder
        state = bytes(decoder.__getstate__()) if decoder is not None else b""
        return _byte_letters() if b'"ByteLevel"' in state else {}

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._tokenizer.added_tokens_decoder)

    @cached_property
    def _anchor(self) -> int:
        """A token before others: many tokenizers write the first one of a text without its space"""
        return int(self._tokenizer("a", add_special_tokens=False).input_ids[-1])

    def _decoded(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))


class Detokenizer:
    """One text: what it has said so far, in whole characters."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """The characters that the token completes."""
        return self._decoder.decode(self._vocabulary.bytes_of(token))

    def end(self) -> str:
        """A mark for what is left of a character that was not completed."""
        return self._decoder.decode(b"", final=True)
