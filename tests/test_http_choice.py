"""What of a text a client gets while it grows: whole characters, no stop string, no padding."""

from __future__ import annotations

from typing import Any

import pytest
import transformers as tf
from conftest import make_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lks.serving.http.choice import Around, Choice, Part
from lks.serving.http.detokenizer import Vocabulary
from lks.serving.protocol import Step

TOKENIZER = make_tokenizer(chat=True)
VOCABULARY = Vocabulary(TOKENIZER)
STOP = 1  # the tokenizer's end of text


def sentencepiece() -> Any:
    """A tokenizer as Llama 2 has it: spaces are letters, other letters are bytes."""
    words = ["<unk>", "</s>", "▁Paris", "▁is", "▁", "P", "a", "r", "i", "s", "▁big"]
    vocabulary = {word: place for place, word in enumerate(words)}
    vocabulary |= {f"<0x{byte:02X}>": len(words) + byte for byte in range(256)}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", eos_token="</s>", pad_token="</s>"
    )


def parts_of(
    ids: list[int],
    *,
    stops: tuple[str, ...] = (),
    around: Around | None = None,
    vocabulary: Vocabulary = VOCABULARY,
    finish: str = "stop",
) -> tuple[list[Part], Choice]:
    """What comes out step by step until the text ends."""
    choice = Choice(vocabulary, frozenset({STOP}), stops, around)
    steps = [Step(token) for token in ids]
    last = Step(STOP, finish="stop") if finish == "stop" else None
    if last is None:
        steps[-1] = Step(ids[-1], finish="length")
    parts = []
    for step in [*steps, last] if last else steps:
        parts.append(choice.take(step))
        if parts[-1].finish:
            break
    return parts, choice


def text_of(parts: list[Part]) -> str:
    return "".join(part.text for part in parts)


def ids_of(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False).input_ids)


@given(st.lists(st.integers(0, len(TOKENIZER) - 1).filter(lambda i: i != STOP), max_size=30))
def test_any_tokens_give_what_decoding_them_together_gives(ids: list[int]) -> None:
    expected = TOKENIZER.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert text_of(parts_of(ids)[0]) == expected


@given(st.text(max_size=40))
def test_any_text_comes_out_as_it_went_in_and_never_in_halves(text: str) -> None:
    parts, _ = parts_of(ids_of(text))
    assert text_of(parts) == TOKENIZER.decode(ids_of(text), clean_up_tokenization_spaces=False)
    if "\ufffd" not in text:
        assert all("\ufffd" not in part.text for part in parts)


@pytest.mark.parametrize("text", ["😀", "塔塔", "é", "👩‍🚀 fliegt", "a😀b"])
def test_characters_of_several_tokens_wait_for_the_last_one(text: str) -> None:
    parts, _ = parts_of(ids_of(text))
    assert len(ids_of(text)) > len(text) - 1
    assert text_of(parts) == text


def test_a_character_that_is_never_completed_is_marked_at_the_end() -> None:
    ids = ids_of("a😀")[:-1]
    parts, _ = parts_of(ids)
    assert text_of(parts) == "a\ufffd"
    assert "\ufffd" not in text_of(parts[:-1])


def test_a_tokenizer_that_writes_spaces_as_letters_keeps_the_first_one() -> None:
    tokenizer = sentencepiece()
    words = Vocabulary(tokenizer)
    emoji = [11 + byte for byte in "😀".encode()]
    parts, _ = parts_of([2, 3, *emoji, 10], vocabulary=words)
    assert text_of(parts) == " Paris is😀 big"
    assert text_of(parts).lstrip() == tokenizer.decode([2, 3, *emoji, 10])
    assert words.label(emoji[0]) == ("bytes:\\xf0", b"\xf0")
    assert words.label(2) == (" Paris", b" Paris")


@given(
    st.text("ab😀 ", max_size=24),
    st.lists(st.text("ab😀 ", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_the_text_ends_before_the_first_stop_string(text: str, stops: list[str]) -> None:
    parts, _ = parts_of(ids_of(text), stops=tuple(stops))
    found = [text.find(stop) for stop in stops if stop in text]
    expected = text[: min(found)] if found else text
    # of two that end with one token the earlier one counts, and the text grows by tokens
    assert text_of(parts) == expected or any(text_of(parts) == text[:at] for at in found)
    assert not any(stop in text_of(parts) for stop in stops)
    assert parts[-1].finish == "stop"


def test_a_stop_string_across_tokens_is_not_sent_and_ends_the_text_at_once() -> None:
    ids = ids_of("Paris is big\n\nQ: what")
    parts, choice = parts_of(ids, stops=("\n\nQ:",))
    assert text_of(parts) == "Paris is big"
    whole = next(n for n in range(len(ids)) if "\n\nQ:" in TOKENIZER.decode(ids[: n + 1])) + 1
    assert choice.written == whole < len(ids)


def test_what_only_looked_like_a_stop_string_comes_out_late() -> None:
    parts, _ = parts_of(ids_of("ab abc"), stops=("abd",), finish="length")
    assert text_of(parts) == "ab abc"
    assert parts[-1].finish == "length"


def test_a_stop_string_at_the_very_beginning_leaves_nothing() -> None:
    parts, _ = parts_of(ids_of("Paris"), stops=("P",))
    assert (text_of(parts), parts[-1].finish, list(parts[-1].tokens)) == ("", "stop", [])


@pytest.mark.parametrize(
    ("around", "expected"),
    [
        (None, " Paris \n"),
        (Around(), " Paris \n"),
        (Around(before=" "), "Paris \n"),
        (Around(behind="\n"), " Paris "),
        (Around(before=" ", behind=" \n"), "Paris"),
        (Around(before="\n\n"), " Paris \n"),
        (Around(strips=True), "Paris"),
    ],
)
def test_a_chat_takes_away_what_the_template_puts_around_an_answer(
    around: Around | None, expected: str
) -> None:
    parts, _ = parts_of(ids_of(" Paris \n"), around=around)
    assert text_of(parts) == expected


def test_white_space_inside_an_answer_stays() -> None:
    parts, _ = parts_of(ids_of("  a \n b  "), around=Around(strips=True))
    assert text_of(parts) == "a \n b"
    assert text_of(parts_of(ids_of("  \n "), around=Around(strips=True))[0]) == ""


@given(st.lists(st.integers(4, len(TOKENIZER) - 1), max_size=20), st.text("ab ", max_size=3))
def test_each_token_is_told_once_and_in_order(ids: list[int], stop: str) -> None:
    parts, _ = parts_of(ids, stops=(stop,) if stop else ())
    told = [token for part in parts for token in part.tokens]
    assert [t.step.token for t in told] == ids[: len(told)]
    assert [t.offset for t in told] == sorted(t.offset for t in told)
    if not stop:
        assert len(told) == len(ids)
    assert all(t.offset < len(text_of(parts)) or t.offset == 0 or not stop for t in told)
