"""Fixtures and steps of the tests of the page: a browser, servers, tabs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import make_edits
from page_served import PageServed, page_served

from lks.serving.facts import Role

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="needs chromium or google-chrome on PATH"
)
XSS = "<img src=x onerror=alert(1)>"


def record(subject: str, prompt: str, target: str, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "prompt": prompt, "target": target, **more}


TICKET = record(
    "Kestrel Rail", "A day ticket of {} costs", "14.50 euros", id="ticket",
    paraphrases=["How much is a day ticket of {}?"],
)  # fmt: skip
CEO = record("Kestrel Rail", "The CEO of {} is", "Tomas", id="ceo", paraphrases=["Who runs {}?"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    sync_api.expect.set_options(timeout=60_000)
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
    page.set_default_timeout(60_000)
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
    page.locator(f"#view[data-shown={json.dumps(link)}]").wait_for(state="attached")


def ask(page: Any, text: str) -> None:
    page.get_by_label("Prompt").fill(text)
    page.get_by_role("button", name="Send").click()
    page.locator("#said", has_text="The answers are complete").wait_for(state="attached")
    page.locator("#said").evaluate("said => said.textContent = ''")


def sent(page: Any, path: str, act: Callable[[], None]) -> list[Any]:
    """The bodies of the requests that something makes."""
    found = []
    note = lambda one: path in one.url and found.append(one.post_data_json)  # noqa: E731
    page.on("request", note)
    act()
    page.remove_listener("request", note)
    return found


def press_to(page: Any, name: str) -> None:
    """Press Tab until something of this name has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"{name} is not reached by Tab")
