from __future__ import annotations

from collections.abc import Sequence

import pytest
from conftest import make_backbone

from lks.errors import InputError
from lks.model.chat import BETWEEN, Message, Piece, Rendered, render_chat


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


def test_a_template_that_changes_contents_is_searched() -> None:
    def dropping(chat: Sequence[Message]) -> str:
        kept = [{**m, "content": m["content"].removeprefix("<think>x</think>")} for m in chat]
        return template(kept)

    chat = [{"role": "assistant", "content": "<think>x</think>Paris."},
            {"role": "user", "content": "Is it Paris?"}]  # fmt: skip
    assert contents(render_chat(dropping, chat)) == [("user", "Is it Paris?")]


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


def test_a_text_beyond_the_positions_that_were_learnt() -> None:
    backbone = make_backbone("gpt2")
    most = backbone.decoder.wpe.num_embeddings
    backbone.encode([Rendered.plain("a" * most)], chat=False)
    with pytest.raises(InputError, match=f"a text of {most + 1} tokens; the model reads {most}"):
        backbone.encode([Rendered.plain("a" * (most + 1))], chat=False)


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
