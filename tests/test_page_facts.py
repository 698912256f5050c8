"""The page of `lks serve` in a real browser: ask, and facts."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from page_fixtures import ask, needs_browser, opened, press_to, record, sent, show
from page_served import KNEW, SHAKY, PageServed, page_served

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
pytestmark = needs_browser
expect = sync_api.expect


# --- ask


def test_both_answers_are_written_at_once_and_the_mention_is_marked(
    page: Any, home: PageServed
) -> None:
    show(page, "ask")
    home.engine.held_at = 4
    try:
        page.get_by_label("Prompt").fill("😀 Where is the Eiffel Tower?")
        page.get_by_role("button", name="Send").click()
        busy = page.locator('.answer[aria-busy="true"]')
        expect(busy.filter(has_text=re.compile(r"\w"))).to_have_count(2)
        home.engine.let_go()
        expect(busy).to_have_count(0)
    finally:
        home.engine.let_go()
    expect(page.locator(".before .answer")).to_have_text(KNEW)
    expect(page.locator(".after .answer")).to_have_text("It is Rome.")
    expect(page.locator(".prompt")).to_have_text("😀 Where is the Eiffel Tower?")
    assert page.locator(".prompt mark").all_text_contents() == ["Eiffel Tower"]
    expect(page.locator("#said")).to_have_text("The answers are complete. Fired: Eiffel Tower.")
    why = page.locator(".spots")
    expect(why).to_contain_text("The Eiffel Tower is located in the city of → Rome")
    expect(why).to_contain_text("“Eiffel Tower” is named, and the text asks for this fact (score")
    expect(page.locator(".after h3")).to_contain_text("“office”, version 2")
    assert "Rome." in "".join(page.locator(".after .come").all_text_contents())
    assert "knew before" in "".join(page.locator(".before .gone").all_text_contents())


def test_each_side_goes_on_with_its_own_answers(page: Any) -> None:
    show(page, "ask")
    ask(page, "Where was Ada Lovelace born?")
    before, after = sent(page, "chat/completions", lambda: ask(page, "Where is the Eiffel Tower?"))
    said = [[m["content"] for m in one["messages"]] for one in (before, after)]
    assert (before["model"], after["model"]) == ("tiny", "tiny:office")
    assert said[0] == ["Where was Ada Lovelace born?", KNEW, "Where is the Eiffel Tower?"]
    assert said[1][1] == "It is Oslo." and before["seed"] == after["seed"]
    expect(page.locator(".turn").nth(1)).to_contain_text(
        "in an earlier message, but a later turn of the chat is about something else"
    )
    page.get_by_role("button", name="New conversation").click()
    (alone, _) = sent(page, "chat/completions", lambda: ask(page, "Where is Mount Fuji?"))
    assert len(alone["messages"]) == 1


def test_stop_ends_both_answers(page: Any, home: PageServed) -> None:
    show(page, "ask")
    home.engine.held_at = 1
    try:
        page.get_by_label("Prompt").fill("Where is the Eiffel Tower?")
        page.get_by_role("button", name="Send").click()
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_text("Stopped.", exact=True)).to_have_count(2)
        assert home.idle()
    finally:
        home.engine.let_go()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.get_by_label("Prompt")).to_be_focused()


def test_a_plain_completion_and_the_settings(page: Any) -> None:
    show(page, "ask")
    page.get_by_label("Plain completion").check()
    page.get_by_text("Settings").click()
    page.get_by_label("Most tokens").fill("2")
    bodies = sent(page, "/v1/completions", lambda: ask(page, "Mount Fuji is in"))
    assert [body["max_tokens"] for body in bodies] == [2, 2]
    assert bodies[0]["prompt"] == "Mount Fuji is in"
    expect(page.get_by_text("Cut off here")).to_have_count(2)
    assert page.locator(".prompt mark").all_text_contents() == ["Mount Fuji"]


def test_examples_are_questions_that_facts_answer(page: Any) -> None:
    show(page, "ask")
    page.get_by_role("button", name="Where is the Eiffel Tower?").click()
    expect(page.get_by_label("Prompt")).to_have_value("Where is the Eiffel Tower?")


def test_the_code_that_is_shown_runs(page: Any) -> None:
    show(page, "ask")
    ask(page, "Where's the Eiffel Tower?")  # a quote, for the shell
    code = {}
    for kind in ("curl", "Python"):
        page.get_by_role("button", name=f"Copy as {kind}").click()
        code[kind] = page.locator("dialog pre").text_content()
        page.get_by_role("button", name="Close").click()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code["Python"], {})
    assert out.getvalue().startswith("It is Rome.\n")
    done = subprocess.run(["sh", "-c", code["curl"]], capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "It is Rome."


# --- facts


def test_facts_are_searched_and_filtered(page: Any, home: PageServed) -> None:
    show(page, "facts")
    rows = page.locator("table.facts tbody tr")
    expect(rows).to_have_count(5)
    page.get_by_label("Search").fill("lovelace")
    expect(rows).to_have_count(2)
    assert "search=lovelace" in page.url
    page.get_by_label("Search").fill("")
    page.get_by_label("Tag").fill("sights")
    expect(rows).to_have_count(4)
    page.get_by_label("State").select_option("Retired")
    expect(page.get_by_text("No fact fits.")).to_be_visible()
    page.get_by_role("link", name="Show all facts").click()
    expect(rows).to_have_count(5)


def test_many_facts_come_in_pages(page: Any, home: PageServed, desk: str) -> None:
    home.add(desk, [record(f"Gate {n:02}x", "{} leads to", "town") for n in range(29)])
    show(page, "facts", desk)
    expect(page.locator("#total")).to_have_text("1–25 of 30")
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#total")).to_have_text("26–30 of 30")
    page.get_by_role("link", name="Previous").click()
    expect(page.locator("#total")).to_have_text("1–25 of 30")


def test_a_fact_is_added_by_the_form(page: Any, home: PageServed, desk: str) -> None:
    show(page, "facts", desk)
    page.get_by_role("link", name="Add facts").click()
    expect(page.locator("#heading")).to_be_focused()
    page.get_by_label("Subject", exact=True).fill("Form B-12")
    page.get_by_label("Prompt").fill("It is due on")
    expect(page.locator(".placed")).to_contain_text("does not name the subject")
    page.get_by_label("Prompt").fill("{} is due on")
    expect(page.locator(".placed mark")).to_have_text("Form B-12")
    page.get_by_label("Target").fill("15 May")
    page.get_by_label("Other ways to ask").fill("When is {} due?\nWhen must I hand {} in?")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Tags").fill("forms, tax")
    page.get_by_label("Valid until").fill("2099-01-01T00:00")
    page.get_by_label("Reason").fill("New law")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#jobs")).to_contain_text("1 fact in force, with version 2")
    expect(page.locator("#version")).to_contain_text("version 2 · 2 facts in force")
    page.get_by_role("link", name="Form B-12").click()
    expect(page.locator("#heading")).to_have_text("Form B-12")
    (fact,) = home.call("GET", f"sets/{desk}/edits?search=B-12")["data"]
    assert fact["paraphrases"] == ["When is Form B-12 due?", "When must I hand Form B-12 in?"]
    assert (fact["tags"], fact["reason"]) == (["forms", "tax"], "New law")
    assert fact["valid_until"].startswith(("2098-12-31", "2099-01-01"))


def test_a_fact_that_stands_against_a_new_one_is_told_and_replaced(
    page: Any, home: PageServed, desk: str
) -> None:
    page.forgiven.append("409")
    show(page, "add", desk)
    page.get_by_label("Subject", exact=True).fill("Kestrel Rail")
    page.get_by_label("Prompt").fill("A day ticket of {} costs")
    page.get_by_label("Target").fill("15 euros")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_contain_text('Fact "ticket" is in force')
    page.get_by_label("Replace facts that say otherwise").check()
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#jobs")).to_contain_text("1 fact in force, with version 2")
    assert home.call("GET", f"sets/{desk}/edits/ticket")["state"] == "retired"


def test_a_prompt_without_its_subject_is_refused_and_nothing_is_lost(page: Any, desk: str) -> None:
    page.forgiven.append("400")
    show(page, "add", desk)
    page.get_by_label("Subject", exact=True).fill("Omega")
    page.get_by_label("Prompt").fill("It lies in")
    page.get_by_label("Target").fill("Peru")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert").locator("li")).to_contain_text("Omega")
    expect(page.get_by_label("Target")).to_have_value("Peru")  # nothing is lost


def test_facts_are_exported(page: Any) -> None:
    show(page, "facts")
    page.get_by_role("button", name="Export").click()
    page.get_by_label("Format").select_option("jsonl")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "office-2.jsonl"
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5 and json.loads(lines[0])["id"] == "eiffel"


def test_a_fact_that_is_not_learnt_is_told_with_the_reason(page: Any, desk: str) -> None:
    show(page, "add", desk)
    page.get_by_label("Subject", exact=True).fill("Omega")
    page.get_by_label("Prompt").fill("{} lies in")
    page.get_by_label("Target").fill("Nowhere")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#jobs")).to_contain_text("1 fact not learnt.")
    expect(page.locator("#jobs")).to_contain_text("the model does not write the target")
    expect(page.locator("tr", has_text="Omega")).to_contain_text("Not learnt")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#jobs")).to_be_empty()


def test_facts_are_added_from_a_table_and_all_bad_lines_are_told(
    page: Any, desk: str, tmp_path: Path
) -> None:
    page.forgiven.append("400")
    show(page, "add?from=table", desk)
    page.get_by_label("Facts", exact=True).fill("subject,prompt,target\nA,{} is in,\n,{} is,b\n")
    page.get_by_role("button", name="Add").click()
    problem = page.get_by_role("alert")
    expect(problem.locator("li")).to_have_count(2)
    expect(problem).to_contain_text("2 problems in the edits:")
    assert [text.split(":")[0] for text in problem.locator("li").all_text_contents()] == [
        "edit 1", "edit 2",
    ]  # fmt: skip
    table = tmp_path / "facts.csv"
    table.write_text("name;question;answer\nSilver Lake;Swimming in {} is;allowed\n")
    page.get_by_label("Or a file").set_input_files(table)
    expect(page.get_by_label("Facts", exact=True)).to_have_value(table.read_text())
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("link", name="Silver Lake")).to_be_visible()
    lines = tmp_path / "facts.jsonl"
    lines.write_text(json.dumps(record("Gold Lake", "Swimming in {} is", "forbidden")))
    page.get_by_role("link", name="Add facts").click()
    page.get_by_role("link", name="Many").click()
    page.get_by_label("Or a file").set_input_files(lines)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("link", name="Gold Lake")).to_be_visible()


def test_a_fact_is_edited_unless_the_set_has_changed(
    page: Any, home: PageServed, desk: str
) -> None:
    page.forgiven.append("412")
    show(page, "facts/ticket", desk)
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Target").fill("15 euros")
    home.add(desk, [record("Silver Lake", "Swimming in {} is", "allowed")])  # somebody else
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("The set has changed meanwhile: reload.")
    page.get_by_role("button", name="Reload").click()
    expect(page.get_by_label("Target")).to_have_value("14.50 euros")
    page.get_by_label("Target").fill("15 euros")
    page.get_by_label("Reason").fill("Dearer")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#jobs")).to_contain_text("1 fact in force, with version 3")
    expect(page.locator(".revisions li")).to_have_count(2)
    first = page.locator(".revisions li").first
    expect(first.locator("del")).to_have_text("14.50 euros")
    expect(first.locator("ins")).to_have_text("15 euros")
    newest = home.call("GET", f"sets/{desk}/edits/ticket")
    assert (newest["target"], newest["revision"]) == ("15 euros", 2)
    assert newest["paraphrases"] == ["How much is a day ticket of Kestrel Rail?"]


def test_a_fact_is_retired_and_brought_back_by_keyboard(
    page: Any, home: PageServed, desk: str
) -> None:
    show(page, "facts/ticket", desk)
    press_to(page, "Retire")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#retire")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("No longer sold")
    page.keyboard.press("Enter")
    expect(page.locator(".fact-state")).to_contain_text("Retired No longer sold")
    assert home.call("GET", f"sets/{desk}/edits/ticket")["state"] == "retired"
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".fact-state")).to_have_text("In force")
    assert home.call("GET", f"sets/{desk}/edits/ticket")["state"] == "in_force"


def test_shaky_wordings_tell_what_to_do(page: Any, home: PageServed, desk: str) -> None:
    tax = record("tax form", "The {} is due on", "15 May", id="tax", generality=[SHAKY])
    home.add(desk, [tax])
    while home.call("GET", f"sets/{desk}/edits/tax")["shaky"] is None:
        page.wait_for_timeout(20)
    show(page, "facts/tax", desk)
    expect(page.locator(".caution")).to_contain_text(SHAKY)
    page.get_by_role("link", name="Add them and edit").click()
    expect(page.get_by_label("Other ways to ask")).to_have_value(SHAKY)


def test_a_set_is_made_where_there_is_none(browser: Any, tmp_path: Path) -> None:
    with page_served(tmp_path) as empty:
        for page in opened(browser, empty):
            page.goto("/")
            expect(page.get_by_text("Until then the model answers as it is.")).to_be_visible()
            ask(page, "Where is it?")
            expect(page.locator(".side")).to_have_count(1)
            page.get_by_role("link", name="Facts", exact=True).click()
            page.get_by_role("button", name="Make a set").click()
            page.get_by_label("Name").fill("first")
            page.get_by_role("button", name="Make it").click()
            expect(page.get_by_text("This set has no facts yet.")).to_be_visible()
            expect(page.locator("#set")).to_have_value("first")
