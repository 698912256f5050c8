"""The page of `lks serve`, in a real browser."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import make_edits
from page_served import KNEW, SHAKY, PageServed, page_served

from lks.scope.types import Reason
from lks.serving.facts import Role

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on PATH")

VIEWS = ("ask", "facts", "facts/eiffel", "facts/eiffel/edit", "add", "add?from=table", "review",
         "history", "traffic")  # fmt: skip
XSS = "<img src=x onerror=alert(1)>"
expect = sync_api.expect
expect.set_options(timeout=15_000)


def record(subject: str, prompt: str, target: str, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "prompt": prompt, "target": target, **more}


TICKET = record(
    "Kestrel Rail", "A day ticket of {} costs", "14.50 euros", id="ticket",
    paraphrases=["How much is a day ticket of {}?"],
)  # fmt: skip
CEO = record("Kestrel Rail", "The CEO of {} is", "Tomas", id="ceo", paraphrases=["Who runs {}?"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        made = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServed]:
    """A server without keys; its set "office" is only read."""
    with page_served(tmp_path_factory.mktemp("store")) as made:
        made.call("POST", "sets", json={"name": "office"})
        made.add("office", [edit.to_record() for edit in make_edits()], tags=["sights"])
        made.add("office", [record(XSS, "The owner of {} is", "nobody", id="xss")])
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServed]:
    """A server with a key for each role, and a set whose changes are approved."""
    with page_served(tmp_path_factory.mktemp("store"), roles=[*Role]) as made:
        made.call("POST", "sets", Role.ADMIN, json={"name": "town", "approval": True})
        made.add("town", [TICKET, CEO], Role.APPROVE)
        yield made


@pytest.fixture
def desk(home: PageServed, request: pytest.FixtureRequest) -> str:
    """A set that a test may change, with one fact."""
    name = re.sub(r"\W", "-", request.node.name)
    home.call("POST", "sets", json={"name": name})
    home.add(name, [TICKET])
    return name


@pytest.fixture
def page(browser: Any, home: PageServed) -> Iterator[Any]:
    yield from opened(browser, home)


@pytest.fixture
def keyed(browser: Any, guarded: PageServed) -> Iterator[Any]:
    yield from opened(browser, guarded, forgiven=("401",))


def opened(
    browser: Any, home: PageServed, forgiven: tuple[str, ...] = (), **more: Any
) -> Iterator[Any]:
    """A new tab. In the end there is no error in its console but those that the test forgives
    (`page.forgiven`), and no request has left the server."""
    context = browser.new_context(base_url=home.url, reduced_motion="reduce", **more)
    page = context.new_page()
    page.set_default_timeout(15_000)
    errors, strangers, alerts = [], [], []
    page.forgiven = list(forgiven)
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda sent: sent.url.startswith(home.url) or strangers.append(sent.url))
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    yield page
    context.close()
    unforgiven = [e for e in errors if not any(part in e for part in page.forgiven)]
    assert (unforgiven, strangers, alerts) == ([], [], [])


def show(page: Any, path: str, name: str = "office") -> None:
    """Open a view of a set, by its link."""
    sign = "&" if "?" in path else "?"
    link = f"#/{path}{sign}set={name}"
    page.goto(f"/{link}")
    expect(page.locator("#view")).to_have_attribute("data-shown", link)


def ask(page: Any, text: str) -> None:
    page.get_by_label("Prompt").fill(text)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#said")).to_contain_text("The answers are complete")
    page.locator("#said").evaluate("said => said.textContent = ''")


def sent(page: Any, path: str, act: Callable[[], None]) -> list[Any]:
    """The bodies of the requests that something makes."""
    found = []
    note = lambda one: path in one.url and found.append(one.post_data_json)  # noqa: E731
    page.on("request", note)
    act()
    page.remove_listener("request", note)
    return found


# --- ask


def test_both_answers_are_written_at_once_and_the_mention_is_marked(
    page: Any, home: PageServed
) -> None:
    show(page, "ask")
    home.engine.pause = 0.08
    try:
        page.get_by_label("Prompt").fill("Where is the Eiffel Tower?")
        page.get_by_role("button", name="Send").click()
        busy = page.locator('.answer[aria-busy="true"]')
        expect(busy.filter(has_text=re.compile(r"\w"))).to_have_count(2)
        home.engine.pause = 0
        expect(busy).to_have_count(0)
    finally:
        home.engine.pause = 0
    expect(page.locator(".before .answer")).to_have_text(KNEW)
    expect(page.locator(".after .answer")).to_have_text("It is Rome.")
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
    home.engine.pause = 0.3
    try:
        page.get_by_label("Prompt").fill("Where is the Eiffel Tower?")
        page.get_by_role("button", name="Send").click()
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_text("Stopped.", exact=True)).to_have_count(2)
        assert home.idle()
    finally:
        home.engine.pause = 0
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


# --- review


def use(page: Any, guarded: PageServed, role: Role) -> None:
    page.goto("/")
    page.get_by_label("API key").fill(guarded.keys[role])
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#who")).to_contain_text(f"role {role}")


def test_proposals_are_tried_approved_and_rejected(keyed: Any, guarded: PageServed) -> None:
    more = [
        {**CEO, "target": "Maud"},
        record("Kestrel Rail", "A bicycle ticket of {} costs", "4 euros", id="bicycle",
               paraphrases=["How much is a bicycle ticket of {}?"]),
        record("Kestrel Rail", "The dog of {} is called", "Rex", id="dog"),
    ]  # fmt: skip
    guarded.add("town", more, Role.EDIT, replace=True, reason="Press release")
    use(keyed, guarded, Role.APPROVE)
    show(keyed, "review", "town")
    proposals = keyed.locator(".proposal")
    expect(proposals).to_have_count(3)
    ceo = proposals.filter(has_text="Maud")
    expect(ceo).to_contain_text("edit-key")
    expect(ceo).to_contain_text("Why: Press release")
    expect(ceo.locator(".conflict del")).to_have_text("Tomas")
    expect(ceo.locator(".conflict ins")).to_have_text("Maud")
    expect(proposals.filter(has_text="bicycle")).to_contain_text("it replaces nothing")

    texts = "How much is a bicycle ticket of Kestrel Rail?\nWho runs Kestrel Rail?\nNothing at all"
    keyed.get_by_label("Texts").fill(texts)
    keyed.get_by_role("button", name="Try it").click()
    cells = keyed.locator("table.dry tbody td")
    expect(cells).to_have_text([
        "nothing", re.compile("bicycle.*as proposed"),
        "ceo", "ceo → Maud (as proposed)",
        "nothing", "nothing",
    ])  # fmt: skip

    keyed.get_by_role("button", name="Reject Kestrel Rail").last.click()
    keyed.get_by_label("Reason").fill("It has no dog")
    keyed.get_by_role("dialog").get_by_role("button", name="Reject").click()
    expect(proposals).to_have_count(2)
    dog = guarded.call("GET", "sets/town/edits/dog", Role.EDIT)
    assert dog["state"] == "rejected" and "It has no dog" in dog["why"]

    keyed.get_by_role("button", name="Approve 2").click()
    keyed.get_by_role("dialog").get_by_role("button", name="Approve").click()
    expect(keyed.locator("#jobs")).to_contain_text("2 facts in force")
    expect(keyed.get_by_text("Nothing waits for approval.")).to_be_visible()
    assert guarded.call("GET", "sets/town/edits/ceo", Role.EDIT)["target"] == "Maud"


def test_versions_are_compared_and_rolled_back(page: Any, home: PageServed, desk: str) -> None:
    home.add(desk, [{**TICKET, "target": "15 euros"}, CEO], replace=True)  # version 2
    home.call("POST", f"sets/{desk}/retire", json={"ids": ["ceo"], "reason": "He left"})
    show(page, "history", desk)
    expect(page.locator("table.history")).to_contain_text("local retired ceo")
    expect(page.locator("table.history")).to_contain_text("He left")
    page.get_by_role("button", name="Compare version 1 with now").click()
    expect(page.locator(".diff.changed del")).to_have_text("14.50 euros")
    page.get_by_role("button", name="Roll back to version 2").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 fact comes back. What is in force then")
    expect(dialog).to_contain_text("The CEO of Kestrel Rail is → Tomas")
    dialog.get_by_label("Reason").fill("He is back")
    dialog.get_by_role("button", name="Roll back").click()
    expect(page.locator("#notices")).to_contain_text("version 4 is in force")
    expect(page.locator("table.history")).to_contain_text("He is back")
    assert home.call("GET", f"sets/{desk}/edits/ceo")["state"] == "in_force"


# --- traffic


def test_traffic_is_charted_and_refreshed(page: Any, home: PageServed) -> None:
    body = {"model": "tiny:office", "max_tokens": 2,
            "messages": [{"role": "user", "content": "Where is the Eiffel Tower?"}]}  # fmt: skip
    home.http.post("/v1/chat/completions", json=body)
    page.clock.install()
    show(page, "traffic")
    assert page.locator("svg rect.part-1").count() > 1
    expect(page.get_by_role("link", name="The Eiffel Tower is located")).to_be_visible()
    asked = page.locator(".figure-card", has_text="Requests").locator("dd")
    told = [asked.text_content()]
    for _ in range(2):
        home.http.post("/v1/chat/completions", json=body)
        page.clock.run_for(4100)
        expect(asked).not_to_have_text(told[-1])
        told.append(asked.text_content())
    page.get_by_text("As a table: Texts a minute").click()
    cells = (
        page.locator("figure", has_text="Texts a minute").locator("tbody td").all_text_contents()
    )
    asked_in_all = sum(int(cell) for cell in cells[::2])
    assert asked_in_all == home.call("GET", "traffic")["texts"]
    page.locator("#pause").click()
    page.locator("#heading").focus()
    home.http.post("/v1/chat/completions", json=body)
    page.clock.run_for(9000)
    expect(page.locator("#traffic-state")).to_contain_text("Paused.")
    expect(asked).to_have_text(told[-1])


# --- roles and keys


def test_a_key_is_asked_for_and_kept_in_the_tab_only(keyed: Any, guarded: PageServed) -> None:
    keyed.goto("/")
    keyed.get_by_label("API key").fill("lks-wrong")
    keyed.get_by_role("button", name="Go on").click()
    expect(keyed.get_by_role("alert")).to_contain_text("Unknown API key")
    use(keyed, guarded, Role.ASK)
    assert keyed.evaluate("Object.values(sessionStorage)") == [guarded.keys[Role.ASK]]
    assert keyed.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    links = keyed.locator("#nav a").all_text_contents()
    assert links == ["Ask"]  # and the header says why
    expect(keyed.locator("#context")).to_contain_text("Facts and traffic need the role edit.")
    ask(keyed, "How much is a day ticket of Kestrel Rail?")
    expect(keyed.locator(".spots")).to_contain_text("Kestrel Rail (ticket)")
    show(keyed, "facts", "town")
    expect(keyed.locator(".empty")).to_contain_text(
        "To read facts takes a key with the role edit. Yours has the role ask"
    )
    keyed.get_by_role("button", name="Change key").click()
    keyed.get_by_label("API key").fill(guarded.keys[Role.EDIT])
    keyed.get_by_role("button", name="Use this key").click()
    expect(keyed.locator("table.facts")).to_be_visible()


def test_an_editor_is_offered_what_he_may(keyed: Any, guarded: PageServed) -> None:
    proposal = record("Kestrel Rail", "The colour of {} is", "green", id="colour")
    guarded.add("town", [proposal], Role.EDIT)
    use(keyed, guarded, Role.EDIT)
    show(keyed, "facts/ticket", "town")
    expect(keyed.get_by_role("button", name="Retire")).to_have_count(0)
    expect(keyed.get_by_text("to retire facts takes the role approve")).to_be_visible()
    expect(keyed.get_by_role("link", name="Propose a change")).to_be_visible()
    show(keyed, "review", "town")
    expect(keyed.get_by_role("button", name="Approve")).to_have_count(0)
    expect(keyed.get_by_text("To decide takes the role approve; yours is edit.")).to_be_visible()
    show(keyed, "history", "town")
    expect(keyed.get_by_role("button", name="Roll back")).to_have_count(0)
    show(keyed, "add", "town")
    keyed.get_by_label("Subject", exact=True).fill("Silver Lake")
    keyed.get_by_label("Prompt").fill("Swimming in {} is")
    keyed.get_by_label("Target").fill("allowed")
    keyed.get_by_role("button", name="Propose").click()
    expect(keyed.locator("#jobs")).to_contain_text("Somebody with the role approve decides.")
    guarded.call("POST", "sets/town/reject", Role.APPROVE, json={"ids": ["colour"]})


def test_what_is_not_there_is_told(page: Any, home: PageServed) -> None:
    page.forgiven += ["404", "503"]
    show(page, "facts", "elsewhere")
    expect(page.get_by_role("alert")).to_contain_text("There is no set “elsewhere”.")
    show(page, "facts/none")
    expect(page.get_by_role("alert")).to_contain_text('"none"')
    backend, home.server.backend = home.server.backend, None
    try:
        page.reload()
        expect(page.get_by_text("The model is being loaded.")).to_be_visible()
    finally:
        home.server.backend = backend
    page.evaluate("location.hash = '#/facts?set=office'")
    expect(page.locator("table.facts")).to_be_visible()


# --- for everybody


def press_to(page: Any, name: str) -> None:
    """Press Tab until something of this name has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"{name} is not reached by Tab")


def test_a_question_is_asked_by_keyboard(page: Any) -> None:
    show(page, "facts")
    press_to(page, "Skip to the content")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    assert "facts" in page.url
    page.keyboard.press("Shift+Tab")
    page.reload()
    press_to(page, "Ask")
    page.keyboard.press("Enter")
    expect(page.locator("#heading")).to_have_text("Ask")
    expect(page.locator("#heading")).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "prompt":
            break
    page.keyboard.type("Where is the Eiffel Tower?")
    page.keyboard.press("Enter")
    expect(page.locator(".after .answer")).to_have_text("It is Rome.")
    seen = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(seen) == "solid"  # the focus is seen


def test_a_name_that_is_html_is_a_text(page: Any, home: PageServed) -> None:
    asked = {"model": "tiny:office", "messages": [{"role": "user", "content": f"Who owns {XSS}?"}]}
    home.http.post("/v1/chat/completions", json=asked)
    for view in ("facts", "facts/xss", "facts/xss/edit", "history", "traffic", "ask"):
        show(page, view)
        assert page.locator("main img, main script").count() == 0
    ask(page, f"The owner of {XSS} is")
    expect(page.locator(".prompt")).to_have_text(f"The owner of {XSS} is")
    expect(page.locator(".prompt mark").first).to_contain_text("img src")
    assert page.locator("main img").count() == 0


def test_everything_has_a_name(page: Any) -> None:
    nameless = """(all) => [...document.querySelectorAll(all)]
      .filter((one) => one.checkVisibility({ visibilityProperty: true }))
      .filter((one) => {
        if (one.matches("svg")) return one.closest("[aria-hidden=true]") === null;
        if (one.matches("table")) return !one.caption?.textContent.trim();
        if (one.matches("input, textarea, select"))
          return ![...(one.labels ?? [])].some((label) => label.textContent.trim());
        return !(one.getAttribute("aria-label") ?? one.textContent).trim();
      }).map((one) => one.outerHTML)"""
    ids = """() => { const all = [...document.querySelectorAll("[id]")].map((one) => one.id);
      return all.filter((id, i) => all.indexOf(id) !== i); }"""
    for view in VIEWS:
        show(page, view)
        page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
        assert page.evaluate(nameless, "input, textarea, select, button, a, svg, table") == [], view
        assert page.evaluate(ids) == [], view
        levels = page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1, view
        assert page.evaluate("[...document.querySelectorAll('main')].length") == 1


CONTRAST = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const found = rgba(getComputedStyle(at).backgroundColor);
      if (found[3] === 255) return found;
    }
    return rgba("Canvas");
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = new Map();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const one = node.parentElement;
    if (!node.data.trim() || !one.checkVisibility() || one.matches(":disabled")) continue;
    const both = [light(rgba(getComputedStyle(one).color)), light(ground(one))];
    const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    if (ratio < 4.5) found.set(`${one.tagName}.${one.className}`, ratio.toFixed(2));
  }
  return [...found];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Any, home: PageServed, scheme: str) -> None:
    for page in opened(browser, home, color_scheme=scheme):
        for view in VIEWS:
            show(page, view)
            assert page.evaluate(CONTRAST) == [], view
        show(page, "ask")
        ask(page, "Where is the Eiffel Tower?")
        assert page.evaluate(CONTRAST) == []
        show(page, "facts/eiffel")
        page.get_by_role("button", name="Retire").click()
        assert page.evaluate(CONTRAST) == []


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Any, home: PageServed) -> None:
    for page in opened(browser, home, color_scheme="dark"):
        ground = "getComputedStyle(document.body).backgroundColor"
        show(page, "ask")
        dark = page.evaluate(ground)
        page.get_by_role("button", name="Light theme").click()
        light = page.evaluate(ground)
        assert light != dark
        page.reload()
        assert page.evaluate(ground) == light
        page.get_by_role("button", name="Dark theme").click()
        assert page.evaluate(ground) == dark
        assert page.evaluate("localStorage.length") == 0  # as the system has it


def test_a_phone_scrolls_down_only(browser: Any, home: PageServed) -> None:
    for page in opened(browser, home, viewport={"width": 360, "height": 740}):
        for view in VIEWS:
            show(page, view)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
        show(page, "ask")
        ask(page, "Where is the Eiffel Tower? " + "x" * 200)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        before, after = (
            page.locator(f".side.{side}").bounding_box() for side in ("before", "after")
        )
        assert after["y"] >= before["y"] + before["height"] and after["x"] == before["x"]


def test_each_reason_of_the_scope_has_its_words(page: Any) -> None:
    show(page, "ask")
    known = page.evaluate("import('/page/words.js').then((words) => Object.keys(words.REASONS))")
    assert set(known) == {str(reason) for reason in Reason}
