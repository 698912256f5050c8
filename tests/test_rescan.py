"""The model's own text, looked through as it grows."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import test_gated
import transformers as tf
from conftest import make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lks.blocks.growing import MOST_CHANGES, Growing
from lks.blocks.in_force import Located
from lks.editors.lks.model import ScalpelModel
from lks.model.backbone import Backbone
from lks.model.chat import Piece, Rendered
from lks.model.detokenizer import with_offsets
from lks.model.engine.protocol import Intervention
from lks.model.offsets import Offsets
from lks.scope.types import Finding, Mention

BORN, trained, model = test_gated.BORN, test_gated.trained, test_gated.model


def test_the_models_own_text_is_looked_through_as_it_grows(
    model: ScalpelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, said = model.backbone.tokenizer, []

    def writes(backbone: Backbone, texts: list, intervention: object, **options: object) -> list:
        said.append([t.text for t in texts])
        new = " Ada Lovelace was born in a city" if len(said) == 1 else " Oslo"
        return [tokenizer(new).input_ids for _ in texts]

    monkeypatch.setattr("lks.editors.lks.rescan.generate_ids", writes)
    prompt = "Where is it high?"
    (text,) = model.generate([prompt], rescan=True, max_new_tokens=40)
    assert said == [[prompt], [f"{prompt} Ada Lovelace was"]]
    assert text == "Ada Lovelace was Oslo"


def test_a_text_that_names_entities_again_and_again_is_not_cut_off(
    model: ScalpelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, tokenizer = " Ada Lovelace was born in Rome." * 12, model.backbone.tokenizer

    def writes(backbone: Backbone, texts: list, intervention: object, **options: object) -> list:
        return [tokenizer(whole.removeprefix(text.text[len(BORN) :])).input_ids for text in texts]

    monkeypatch.setattr("lks.editors.lks.rescan.generate_ids", writes)
    (text,) = model.generate([BORN], rescan=True, max_new_tokens=2000)
    assert text == whole.strip()


def test_the_models_own_text_keeps_its_spaces(
    model: ScalpelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["▁yesterday", "▁Ada", "▁Lovelace", "▁was", "▁born", "▁there", "▁Well"]
    tokenizer = Tokenizer(models.WordLevel({w: 100 + i for i, w in enumerate(words)}, "▁Well"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # as Llama 2's: no first space
    tokenizer.decoder = decoders.Metaspace()
    own, read = tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer), []

    def writes(backbone: Backbone, texts: list, intervention: object, **options: object) -> list:
        read.append(texts[0].text)
        return [[100, 101, 102, 103, 104, 105] if len(read) == 1 else [105]]

    monkeypatch.setattr("lks.editors.lks.rescan.generate_ids", writes)
    monkeypatch.setattr(model.backbone, "tokenizer", own)
    (text,) = model.generate(["Well"], rescan=True, max_new_tokens=40)
    assert read == ["Well", "Well yesterday Ada Lovelace was born"]
    assert text == "yesterday Ada Lovelace was born there"


def test_looking_again_changes_nothing_where_no_edit_fires(model: ScalpelModel) -> None:
    prompts = ["What is it?", BORN]
    twice = [model.respond(prompts, max_new_tokens=6, rescan=again) for again in (False, True)]
    assert twice[0] == twice[1]


def test_what_fired_in_the_models_own_text_is_told(
    model: ScalpelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter([" Ada Lovelace was born in a city", " Oslo"])

    def writes(backbone: Backbone, texts: list, intervention: Intervention, **options: object):
        with intervention(backbone.encode(texts, chat=False, side="left")):
            return [backbone.tokenizer(next(said)).input_ids]

    monkeypatch.setattr("lks.editors.lks.rescan.generate_ids", writes)
    (text,) = model.respond(["Where is it high?"], rescan=True, max_new_tokens=40)
    assert text.fired == ("ada-born",)


class Fuji:
    """Looks through texts in which each of some words fires an edit of its own, named so."""

    special_ids, tokenizer = (1,), make_tokenizer()

    def __init__(self, fires: str) -> None:
        self.fires, self.read, self.asked = re.compile(fires), list[str](), list[str]()

    def __call__(self, texts: Sequence[Rendered], offsets: Sequence[Offsets]) -> list[Located]:
        ((text,), (spans,)) = texts, offsets
        self.read.append(text.text)
        found = [self._mention(match) for match in self.fires.finditer(text.text)]
        places = [
            (next(i for i, (_, end) in enumerate(spans) if end >= m.end), m.edit_ids) for m in found
        ]
        return [Located([Finding(mention) for mention in found], places, [])]

    def _mention(self, match: re.Match[str]) -> Mention:
        return Mention((match[0],), "Fuji", match[0], *match.span(), "exact")

    def names(self, text: str) -> bool:
        self.asked.append(text)
        return self.fires.search(text) is not None


def growing(look: Fuji, prompt: str = "Well", *, chat: bool = False) -> Growing:
    text = Rendered.plain(prompt)
    tokens = (
        list(look.tokenizer(prompt).input_ids),
        with_offsets(look.tokenizer, look.tokenizer(prompt).input_ids)[1],
    )
    return Growing(look, text, tokens, Located([], [], []), chat=chat)  # type: ignore[arg-type]


def write(grown: Growing, look: Fuji, text: str) -> list[str]:
    """The texts at which edits came into force while this one was written."""
    changes, left = list[str](), look.tokenizer(text).input_ids
    while left:
        token, *left = left
        if grown.take(token):
            changes.append(look.tokenizer.decode(grown.written))
            left = [token, *left]  # the same is written again
    return changes


def test_what_has_fired_stays_in_force() -> None:
    look = Fuji(r"born$|Osaka")
    grown = growing(look)
    assert write(grown, look, " He was born in Osaka, and born in Kobe.") == [
        " He was born",
        " He was born in Osaka",
    ]
    assert grown.located.fired == ["born", "Osaka"]
    assert [edits for _, edits in grown.located.places] == [["born"], ["Osaka"]]
    born, _ = (token for token, _ in grown.located.places)
    start, end = grown.tokens[1][born]
    assert "Well He was born in Osaka"[start:end].endswith("n")


def test_the_prompt_and_the_text_are_one_or_two_messages() -> None:
    for chat, pieces in (
        (True, (Piece(0, 4), Piece(4, 13, "assistant", message=1))),
        (False, (Piece(0, 13),)),
    ):
        look = Fuji("Osaka")
        grown = growing(look, chat=chat)
        write(grown, look, " In Osaka, well.")
        assert grown.text.pieces == pieces
        assert (grown.text.text, grown.text.begun) == ("Well In Osaka", 4)


def test_a_text_is_changed_a_few_times_at_most() -> None:
    look = Fuji(r"\d+")
    grown = growing(look)
    text = "".join(f" Osaka{number} x" for number in range(40))
    assert len(write(grown, look, text)) == MOST_CHANGES
    assert look.tokenizer.decode(grown.written) == text


def test_characters_of_several_tokens_are_kept_whole() -> None:
    text = " Šůň 東京 é Osaka. 東京 🗻 Osaka"
    look = Fuji("東京|Osaka")
    grown = growing(look)
    assert write(grown, look, text) == [" Šůň 東京", " Šůň 東京 é Osaka"]
    ids, offsets = grown.tokens
    assert (f"Well{text}", offsets) == with_offsets(look.tokenizer, ids)
    assert any(len(look.tokenizer(char).input_ids) > 1 for char in text)


def test_scripts_without_spaces_are_looked_through_sign_by_sign() -> None:
    look = Fuji("京都")
    assert write(growing(look), look, "彼は京都で生まれた。")[0] == "彼は京都"


def test_few_looks_where_nobody_is_named() -> None:
    look = Fuji("Osaka")
    grown = growing(look)
    text = " It is a large city on a river. It has many bridges, and people like it." * 4
    assert write(grown, look, text) == []
    assert look.read == []
    assert max(map(len, look.asked)) < 45, "one sentence at a time"
    assert write(grown, look, " Osaka is. So") == [
        look.tokenizer.decode(grown.written)[: len(text) + 6]
    ]


def test_no_word_ends_at_the_end_of_a_text() -> None:
    """What the model has told already is not taken back, nor gone on with."""
    look = Fuji("Osaka")
    grown = growing(look)
    assert [grown.take(token) for token in [*look.tokenizer(" In Osaka").input_ids, 1]][-1] is False
