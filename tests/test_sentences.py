"""Sentences: where they end, and what they ask about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lks.scope.gate.questions import MASK, REACH, Sentences, Span, asks_on, without_hearsay
from lks.scope.normalizer import BETWEEN


def asking(text: str, own: list[Span], others: tuple[Span, ...] | list[Span] = ()) -> list[str]:
    return [s for _, s in Sentences(text, sorted([*own, *others])).asking(own)]


def spans(text: str, name: str) -> list[tuple[int, int]]:
    starts = [i for i in range(len(text)) if text.startswith(name, i)]
    return [(start, start + len(name)) for start in starts]


def test_the_mentions_sentence_and_those_after_it_may_ask() -> None:
    text = "Rome is old. I met Dr. Ada. Lovelace today.  And where was she born? Ada knows"
    own = [(19, 36), (69, 72)]
    assert [text[a:b] for a, b in own] == ["Dr. Ada. Lovelace", "Ada"]
    assert asking(text, own) == [f"I met {MASK} today.", "And where was she born?", f"{MASK} knows"]


def test_a_turn_of_a_chat_is_a_sentence_of_its_own() -> None:
    """Though nothing ends it: else the question would be compared with all that was said."""
    chat = BETWEEN.join(["Ada Lovelace was born in", "London", "Are you sure?"])
    assert asking(chat, spans(chat, "Ada Lovelace")) == [
        "it was born in",
        "London",
        "Are you sure?",
    ]


def test_an_answer_that_has_only_begun_belongs_to_its_question() -> None:
    """Alone, "It is" would be as near as can be to any edit whose prompt ends so."""
    text = "Is Lyon old? What is the twin city of Lyon? It is"
    assert asking(text, spans(text, "Lyon")) == ["Is it old?", "What is the twin city of it? It is"]
    said = "What is the twin city of Lyon? It is Milan. And where is it?"
    assert len(asking(said, spans(said, "Lyon"))) == 3
    followed = "Where is Lyon? And its twin city is"
    assert len(asking(followed, spans(followed, "Lyon"))) == 2
    told = "I like Lyon. It is"
    assert len(asking(told, spans(told, "Lyon"))) == 2


def test_a_names_article_is_masked_with_it() -> None:
    text = "In which city is the Tower? The Tower, and there the other Tower"
    found = asking(text, spans(text, "Tower"))
    assert found == ["In which city is it?", "it, and there the other it"]


def test_a_later_sentence_about_another_edited_entity_is_left_out() -> None:
    text = "Ada knew Bob. Where was Bob born? Where was she born?"
    own, others = spans(text, "Ada"), spans(text, "Bob")
    assert asking(text, own, others) == ["it knew Bob.", "Where was she born?"]
    assert asking(text, others, own) == [
        "Ada knew it.",
        "Where was it born?",
        "Where was she born?",
    ]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("The ports of MySQL, Ada and Redis, please", f"The ports of {MASK}, please"),
        ("Who leads Ada, Nike and Puma?", f"Who leads {MASK}?"),
        ("Who leads Nike or Ada?", f"Who leads {MASK}?"),
        ("The heads of Nike, Ada, Puma", f"The heads of {MASK}"),
        ("What is the capital of Ada, USA?", f"What is the capital of {MASK}, USA?"),
        ("In its Small Program, Ada takes", f"In its Small Program, {MASK} takes"),
    ],
)
def test_of_a_list_of_names_only_the_question_counts(text: str, asked: str) -> None:
    assert asking(text, spans(text, "Ada")) == [asked]


def test_a_quotation_belongs_to_what_is_said_of_it() -> None:
    text = 'Is this good English? "Where does Ada lives?" Thanks.'
    assert (
        asking(text, spans(text, "Ada"))[0] == f'Is this good English? "Where does {MASK} lives?"'
    )


@pytest.mark.parametrize(
    ("later", "about"),
    [
        ("Where was Kurt Gödel born?", []),
        ("Which city is the capital of Spain?", []),
        ("Where did she study in Paris?", ["Where did she study in Paris?"]),
        ("Wann zog sie nach Wien?", ["Wann zog sie nach Wien?"]),
        ("Où est-elle née, à Paris ou Lyon?", ["Où est-elle née, à Paris ou Lyon?"]),
        ("Wo wurde Kurt Gödel geboren?", []),
        ("And the capital of the country?", ["And the capital of the country?"]),
    ],
)
def test_a_later_sentence_about_something_else_is_left_out(later: str, about: list[str]) -> None:
    text = f"Ada is here. {later}"
    assert asking(text, spans(text, "Ada")) == ["it is here.", *about]


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        ("Where was Ada Lovelace born? London.", "Where was it born?"),
        ("Where is the University of York? And the Louvre?", "Where is it?"),
        ("Where was she? In it?", None),
        ("She was born in London.", None),
    ],
)
@pytest.mark.parametrize(
    "short", ["And Alan Turing?", "What about Alan Turing?", "Alan Turing?", "And of Alan Turing?"]
)
def test_a_name_alone_asks_what_was_asked_before(before: str, asked: str, short: str) -> None:
    text = f"{before} {short}"
    found = asking(text, spans(text, "Alan Turing"))
    assert found == [asked or short.replace("Alan Turing", MASK)]


def test_it_in_capitals_is_another_thing_that_is_asked_for() -> None:
    text = "Who runs Acme? And IT?"
    assert asking(text, spans(text, "Acme")) == ["Who runs it?", "And IT?"]


def test_a_name_alone_after_an_edited_one() -> None:
    text = "where was ada born? And the Bob? And Carl?"
    others = [*spans(text, "ada"), *spans(text, "Bob")]
    assert asking(text, spans(text, "Carl"), others) == ["where was it born?"]
    assert asking(text, spans(text, "ada"), spans(text, "Bob"))[0] == "where was it born?"


def test_what_somebody_was_told_is_no_answer() -> None:
    told = "It is Rome. I paid $49 for it. Somebody told me Oslo! My friend said so. I think Lima."
    kept = without_hearsay(told)
    assert [word in kept for word in ("Rome", "$49", "Oslo", "friend", "Lima")] == [
        True, False, False, False, True,
    ]  # fmt: skip


def test_a_doubt_asks_nothing_new() -> None:
    assert [asks_on(text) for text in ("Can that be?", "Are you sure?")] == [False, False]
    assert [asks_on(text) for text in ("Can that be bought?", "How tall is it?")] == [True, True]


def test_only_so_many_sentences_are_looked_at() -> None:
    text = "Ada is here. " + "More words follow. " * 100 + "Where was she born?"
    found = asking(text, spans(text, "Ada"))
    assert len(found) == REACH
    assert found[0] == "it is here."
    assert found[-1] == "Where was she born?"
    (long,) = asking("word " * 9000 + "Ada " + "word " * 9000, [(45000, 45003)])
    assert len(long) < 1000


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_the_sentences(before: str, after: str) -> None:
    text = f"{before}\ud800Ada\n{after}"
    start = text.index("Ada")
    assert any(MASK in sentence for sentence in asking(text, [(start, start + 3)]))


@pytest.mark.parametrize(
    ("later", "counts"),
    [
        ("Who is the CEO of BMW?", False),
        ("Who is the CEO of eBay?", False),
        ("Who is the mayor of the U.S.A.?", False),
        ("BMW's CEO is", False),
        ("Who is the mayor of Berlin this year?", False),
        ("Who is the CEO of our company?", False),
        ("Who is the CEO?", True),
        ("Who is its CEO this year?", True),
        ("What's the ISBN?", True),
        ("How much is that in USD?", True),
        ("What is the price in EUR?", True),
        ("In your opinion, who runs the company?", True),
        ("Who is the CEO, for my essay?", True),
    ],
)
def test_a_later_sentence_that_names_others_is_left_out(later: str, counts: bool) -> None:
    text = f"We drive a Toyota. {later}"
    assert (len(asking(text, spans(text, "Toyota"))) == 2) == counts
