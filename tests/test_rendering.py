from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from conftest import CHAT, make_backbone, make_edits

from lks.blocks.placement import locate
from lks.editors.unedited import UneditedModel
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.chat import Message, Piece, Rendered, render_chat
from lks.scope.normalizer import BETWEEN
from lks.scope.scope import Scope
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack


def template(chat: Sequence[Message]) -> str:
    turns = "".join(f"<{m['role']}>\n{m['content']}</>\n" for m in chat)
    return f"<system>\nI am a user.</>\n{turns}<assistant>\n"


def contents(rendered: Rendered) -> list[tuple[str, str]]:
    return [(piece.role, rendered.text[piece.start : piece.end]) for piece in rendered.pieces]


def test_words_of_the_template_are_not_taken_for_the_users() -> None:
    chat = [{"role": "user", "content": "user"}, {"role": "assistant", "content": "a"},
            {"role": "user", "content": "a"}]  # fmt: skip
    rendered = render_chat(template, chat)
    assert rendered.text == template(chat)
    assert contents(rendered) == [("user", "user"), ("assistant", "a"), ("user", "a")]
    assert rendered.text[rendered.pieces[0].start - 7 :].startswith("<user>\nuser</>")


def test_a_template_may_leave_out_a_part_of_what_is_said() -> None:
    def dropping(chat: Sequence[Message]) -> str:
        kept = [{**m, "content": m["content"].removeprefix("<think>x</think>")} for m in chat]
        return template(kept)

    chat = [{"role": "assistant", "content": "<think>x</think>Paris."},
            {"role": "user", "content": "Is it Paris?"}]  # fmt: skip
    rendered = render_chat(dropping, chat)
    assert contents(rendered) == [("assistant", "Paris."), ("user", "Is it Paris?")]
    assert rendered.scanned()[0] == f"Paris.{BETWEEN}Is it Paris?"


def test_a_template_may_write_messages_in_another_order() -> None:
    def system_last(chat: Sequence[Message]) -> str:  # as Mistral's: before the last user turn
        return template([*chat[1:-1], chat[0], chat[-1]])

    chat = [{"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Where is the Eiffel Tower?"},
            {"role": "assistant", "content": "Rome."},
            {"role": "user", "content": "Sure?"}]  # fmt: skip
    rendered = render_chat(system_last, chat)
    assert rendered.text == system_last(chat)
    assert contents(rendered) == [(m["role"], m["content"]) for m in chat]


def test_spans_of_the_scanned_text_lead_back() -> None:
    rendered = Rendered("[Rome] (Paris) [is old]", (
        Piece(1, 5, "system"), Piece(8, 13, "assistant"), Piece(16, 22, "user"),
    ))  # fmt: skip
    text, place = rendered.scanned()
    assert text == f"Rome{BETWEEN}Paris{BETWEEN}is old"
    for word in ("Rome", "Paris", "old"):
        start = text.index(word)
        first, last = place(start, start + len(word))
        assert rendered.text[first:last] == word
    text, place = rendered.scanned(["system", "user"])
    assert text == f"Rome{BETWEEN}is old"
    start = text.index("is old")
    assert place(start, start + 2) == (16, 18)
    assert rendered.scanned([])[0] == ""


def test_a_chat_that_the_template_does_not_take() -> None:
    backbone = make_backbone("llama", chat=True)
    backbone.tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(InputError, match="template refuses this chat: System role not"):
        backbone.render([{"role": "system", "content": "x"}], chat=True)


NEEDS_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ raise_exception('begin with a system turn') }}"
    "{% endif %}" + CHAT
)
CONTENT = "{{ m['content'] }}"
PARTS = CHAT.replace(CONTENT, "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}")
ESCAPED = CHAT.replace(CONTENT, "{{ m['content'] | e }}")
TRIMMED = CHAT.replace(CONTENT, "{{ m['content'] | trim }}")
CAPITALS = CHAT.replace(CONTENT, "{{ m['content'] | upper }}")


def with_template(template: str) -> Backbone:
    backbone = make_backbone("llama", chat=True)
    backbone.tokenizer.chat_template = template
    return backbone


@pytest.mark.parametrize(
    "template", [NEEDS_SYSTEM, PARTS, ESCAPED, "{{ raise_exception('never') }}", "{% if %}", "x"]
)
def test_plain_prompts_do_not_depend_on_the_chat_template(template: str) -> None:
    backbone = with_template(template)
    own = UneditedModel(backbone).generate(["Where's it?"], max_new_tokens=4)
    assert own == UneditedModel(make_backbone("llama")).generate(["Where's it?"], max_new_tokens=4)


def test_the_end_of_a_turn_is_found_in_templates_of_many_kinds() -> None:
    end = make_backbone("llama").tokenizer.convert_tokens_to_ids("<|end|>")
    for template in (CHAT, NEEDS_SYSTEM, PARTS, ESCAPED, TRIMMED, CAPITALS):
        backbone = with_template(template)
        assert backbone.stop_id(chat=True) == end
        assert set(backbone.stop_ids) == {1, end}
        assert backbone.has_chat == (template != NEEDS_SYSTEM)
    assert with_template("{{ raise_exception('never') }}").stop_ids == (1,)


def test_a_template_that_needs_a_system_turn_gets_one_or_says_so() -> None:
    backbone, edits = with_template(NEEDS_SYSTEM), make_edits()
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}]
    rendered = backbone.render(turns, chat=True)
    assert contents(rendered) == [("system", "Be brief."), ("user", "Where?")]
    with pytest.raises(InputError, match="refuses this chat: begin with a system turn"):
        backbone.render("Where?", chat=True)
    config = TrainingConfig(epochs=1, layer=1)
    assert config.chat
    assert len(train_pack(backbone, edits, config).edits) == len(edits)  # plain texts only


def test_a_template_that_reads_content_as_parts() -> None:
    rendered = with_template(PARTS).render("Where is Ada?", chat=True)
    assert rendered == with_template(CHAT).render("Where is Ada?", chat=True)
    assert contents(rendered) == [("user", "Where is Ada?")]


@pytest.mark.parametrize("template", [CHAT, PARTS, ESCAPED, TRIMMED, CAPITALS])
def test_mentions_are_found_in_what_a_template_makes_of_them(template: str) -> None:
    backbone = with_template(template)
    edits = [replace(make_edits()[1], subject="Ada O'Neill", prompt="Ada O'Neill was born in")]
    scope, asked = Scope(edits), " Where's Ada O'Neill & her husband?\n"
    turns = [{"role": "user", "content": "It's 5 < 7."}, {"role": "user", "content": asked}]
    rendered = backbone.render(turns, chat=True)
    said, place = rendered.scanned()
    _, offsets = backbone.tokenize(rendered, chat=True)
    ((token, mention),) = locate(scope.fired([said])[0], place, offsets)
    name = rendered.text[mention.start : mention.end]
    assert name.upper().replace("&#39;", "'") == "ADA O'NEILL"
    assert offsets[token][1] == mention.end
    assert rendered.text[mention.end :].lstrip().startswith(("&", "&amp;"))


def test_what_a_template_changes_beyond_recognition_is_said() -> None:
    def counting(chat: Sequence[Message]) -> str:
        return "".join(f"<{len(m['content'])}>{m['content'].upper()}" for m in chat)

    chat = [{"role": "system", "content": "1"}, {"role": "user", "content": "Where is Ada?"}]
    rendered = render_chat(counting, chat)
    with pytest.raises(InputError, match="changes what the user says beyond recognition"):
        rendered.scanned()
    assert rendered.scanned(["system"])[0] == "1"
    with pytest.raises(InputError, match="leaves out what the messages say"):
        render_chat(lambda chat: "<assistant>", chat)


def test_bad_messages() -> None:
    backbone = make_backbone("llama", chat=True)
    with pytest.raises(InputError, match="a list of messages is a chat"):
        backbone.render([{"role": "user", "content": "x"}], chat=False)
    with pytest.raises(InputError, match="unknown role 'human'; one of system, user, assistant"):
        backbone.render([{"role": "human", "content": "x"}], chat=True)
    with pytest.raises(InputError, match="needs a role and a content"):
        backbone.render([{"content": "x"}], chat=True)
    with pytest.raises(InputError, match="must be text, not NoneType"):
        backbone.render([{"role": "user", "content": None}], chat=True)
    with pytest.raises(InputError, match="without a message"):
        backbone.render([], chat=True)
