"""The page of `lks serve` in a real browser: review, traffic, roles, and what all views share."""

from __future__ import annotations

import re
from typing import Any

import pytest
from page_fixtures import CEO, TICKET, XSS, ask, needs_browser, opened, press_to, record, show
from page_served import PageServed

from lks.scope.types import Reason
from lks.serving.facts import Role

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
pytestmark = needs_browser
expect = sync_api.expect

VIEWS = ("ask", "facts", "facts/eiffel", "facts/eiffel/edit", "add", "add?from=table", "review",
         "history", "traffic")  # fmt: skip


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
