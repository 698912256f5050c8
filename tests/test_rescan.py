"""The model's own text, looked through as it grows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import pytest
import test_gated
import transformers as tf
from conftest import make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lks.blocks.growing import MOST_CHANGES, PATIENCE, Growing, Looking
from lks.blocks.in_force import Located
from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.model.backbone import Backbone
from lks.model.chat import ROLES, Piece, Rendered
from lks.model.detokenizer import with_offsets
from lks.model.engine.protocol import Intervention
from lks.model.offsets import Offsets
from lks.scope.types import Decision, Finding, Mention, Reason

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
    assert said == [[prompt], [f"{prompt} Ada Lovelace was born in"]]
    assert text == "Ada Lovelace was born in Oslo"


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
    words = ["▁Ada", "▁Lovelace", "▁was", "▁born", "▁in", "▁there", "▁Well"]
    tokenizer = Tokenizer(models.WordLevel({w: 100 + i for i, w in enumerate(words)}, "▁Well"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # as Llama 2's: no first space
    tokenizer.decoder = decoders.Metaspace()
    own, read = tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer), []

    def writes(backbone: Backbone, texts: list, intervention: object, **options: object) -> list:
        read.append(texts[0].text)
        return [[100, 101, 102, 103, 104, 105, 105] if len(read) == 1 else [105]]

    monkeypatch.setattr("lks.editors.lks.rescan.generate_ids", writes)
    monkeypatch.setattr(model.backbone, "tokenizer", own)
    (text,) = model.generate(["Well"], rescan=True, max_new_tokens=40)
    assert read == ["Well", "Well Ada Lovelace was born in"]
    assert text == "Ada Lovelace was born in there"


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
    """Looks through texts in which each of some words fires an edit of its own, named so.

    Args:
        clearer: words of which each makes it fire more clearly.
    """

    special_ids, tokenizer, roles = (1,), make_tokenizer(), ("user", "assistant")

    def __init__(self, fires: str, clearer: str = "", target: str = "Lima") -> None:
        self.fires, self.clearer, self.target = re.compile(fires), clearer.split(), target
        self.read, self.asked = list[str](), list[str]()

    def __call__(self, texts: Sequence[Rendered], offsets: Sequence[Offsets]) -> list[Located]:
        ((text,), (spans,)) = texts, offsets
        (piece,) = text.pieces
        said = text.text[piece.start : piece.end]
        self.read.append(said)
        found = [self._finding(match, said) for match in self.fires.finditer(said)]
        ends = [piece.start + one.mention.end for one in found]
        places = [
            (next(i for i, (_, last) in enumerate(spans) if last >= end), one.mention.edit_ids)
            for end, one in zip(ends, found, strict=True)
        ]
        return [Located(found, places, [])]

    def _finding(self, match: re.Match[str], said: str) -> Finding:
        begun = [" ".join(self.clearer[: n + 1]) for n in range(len(self.clearer))]
        score = 0.8 + max(
            (0.05 * n for n, own in enumerate(begun) if said.endswith(own)), default=0
        )
        decision = Decision(match[0], score, 0.6, True, Reason.ASKED, said)
        mention = Mention((match[0],), "Fuji", match[0], *match.span(), "exact")
        return Finding(mention, (decision,))

    def may_fire(self, text: str) -> set[str]:
        self.asked.append(text)
        return {match[0] for match in self.fires.finditer(text)}

    def stated(self, edit_ids: Iterable[str]) -> set[str]:
        return {*edit_ids}

    def targets(self, edit_ids: Iterable[str]) -> list[str]:
        return [self.target for _ in edit_ids]


def growing(look: Fuji, prompt: str = "Well.", *, chat: bool = True) -> Growing:
    ids = look.tokenizer(prompt).input_ids
    tokens = list(ids), with_offsets(look.tokenizer, ids)[1]
    text = Rendered.plain(prompt)
    return Growing(look, text, tokens, Located([], [], []), chat=chat)  # type: ignore[arg-type]


def write(grown: Growing, look: Fuji, text: str, instead: str = " Lima") -> list[str]:
    """The texts at which something changed while this one was written.

    With an edit in force, the model writes something instead, and a word more; then what it would
    have written without it.
    """
    changes, left = list[str](), look.tokenizer(text).input_ids
    while left:
        token, *left = left
        if not grown.take(token):
            continue
        said = look.tokenizer.decode(grown.written)
        changes.append(said)
        rest = f"{instead} it is" if grown.located.places else text[len(changes[0]) :]
        left = look.tokenizer(rest).input_ids
    return changes


def test_a_block_is_in_force_until_its_target_is_said() -> None:
    look = Fuji("Osaka")
    grown = growing(look)
    assert write(grown, look, " It is in Osaka and old.") == [
        " It is in Osaka",
        " It is in Osaka Lima",
    ]
    assert look.tokenizer.decode(grown.written) == " It is in Osaka Lima and old."
    assert grown.located.places == []
    assert [finding.mention.surface for finding in grown.findings] == ["Osaka"]
    start, end = (grown.findings[0].mention.start, grown.findings[0].mention.end)
    whole, _ = grown.text.scanned()
    assert whole[start:end] == "Osaka"


def test_a_target_that_is_not_said_is_not_waited_for() -> None:
    look = Fuji("Osaka")
    grown = growing(look)
    first, second = write(grown, look, " It is in Osaka and old.", instead=" well" * 30)
    assert first == " It is in Osaka"
    assert PATIENCE < len(second) - len(first) < PATIENCE + 20


def test_the_clearest_word_counts() -> None:
    look = Fuji("Osaka", clearer="Osaka is in")
    grown = growing(look)
    assert write(grown, look, " Well, Osaka is in Japan, I think.")[0] == " Well, Osaka is in"
    assert [edits for _, edits in grown.located.places] == []


def test_a_text_may_end_where_it_asks() -> None:
    """The end is taken back: what the model would end without the target it may go on with."""
    look = Fuji("Osaka")
    grown = growing(look)
    *_, last = [grown.take(token) for token in [*look.tokenizer(" In Osaka").input_ids, 1]]
    assert not last, "no word has ended yet"
    grown = growing(look)
    ids = look.tokenizer(" In Osaka is").input_ids
    assert [grown.take(token) for token in ids].count(True) == 0
    assert grown.settled == len(look.tokenizer(" In Osaka").input_ids)
    assert grown.take(1)
    assert look.tokenizer.decode(grown.written) == " In Osaka"


def test_only_the_sentence_that_names_the_entity_asks() -> None:
    look = Fuji("Osaka")
    grown = growing(look)
    write(grown, look, " It is old. I was there, and it is big.")
    assert look.read == []
    assert max(map(len, look.asked)) < 30, "one sentence at a time"
    write(grown, look, " In Osaka there is. So")
    assert look.read[0].strip() == "In Osaka"


def test_each_edit_comes_into_force_once() -> None:
    look = Fuji(r"Osaka\d*")
    grown = growing(look)
    text = " In Osaka and in Osaka it is so."
    assert len(write(grown, look, text)) == 2
    assert look.tokenizer.decode(grown.written) == " In Osaka Lima and in Osaka it is so."
    many = "".join(f" Osaka{number} x" for number in range(80))
    grown = growing(look)
    changes, left = 0, look.tokenizer(many).input_ids
    while left:
        token, *left = left
        changes += grown.take(token)
    assert changes == MOST_CHANGES


def test_the_prompt_and_the_text_are_one_or_two_messages() -> None:
    for chat, pieces in (
        (True, (Piece(0, 5), Piece(5, 14, "assistant", message=1))),
        (False, (Piece(0, 14),)),
    ):
        look = Fuji("Osaka")
        grown = growing(look, chat=chat)
        for token in look.tokenizer(" In Osaka is").input_ids:
            grown.take(token)
        assert grown.take(1)
        assert grown.text.pieces == pieces
        assert (grown.text.text, grown.text.begun) == ("Well. In Osaka", 5)


def test_characters_of_several_tokens_are_kept_whole() -> None:
    text = " Šůň 東京 é Osaka. 東京 🗻 Osaka"
    look = Fuji("nowhere")
    grown = growing(look)
    assert write(grown, look, text) == []
    ids, offsets = grown.tokens
    assert (f"Well.{text}", offsets) == with_offsets(look.tokenizer, ids)
    assert any(len(look.tokenizer(char).input_ids) > 1 for char in text)


def test_scripts_without_spaces_are_looked_through_sign_by_sign() -> None:
    look = Fuji("京都")
    assert write(growing(look), look, "彼は京都で生まれた。")[0] == "彼は京都"


def test_others_words_count_only_in_the_roles_that_are_looked_through() -> None:
    look = Fuji("Osaka")
    look.roles = ("user",)
    assert write(growing(look), look, " In Osaka it is so.") == []
    assert look.asked == []


def test_where_a_profile_answers_its_facts_do_not_fire_again() -> None:
    facts = [Edit(name, "Ada", f"Ada {name}", "Rome") for name in ("born", "lives")]
    profile = Edit("ada", "Ada", "Tell me about Ada", "Ada is.", profile_of=("born",))
    edits = {edit.id: edit for edit in [*facts, profile, Edit("other", "Bob", "Bob is", "old")]}
    look = Looking(SimpleNamespace(edits=edits), ROLES, True, make_tokenizer(), ())  # type: ignore[arg-type]
    assert look.stated(["ada", "other"]) == {"ada", "born", "lives", "other"}
    assert look.stated(["born"]) == {"born"}
