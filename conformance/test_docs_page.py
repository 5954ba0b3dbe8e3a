"""The docs page in a real browser (ADR-0027.R3)."""

import os
import shutil
from collections.abc import Iterator
from typing import Final

import pytest
from gateway_conformance.rules import confirms
from playwright.sync_api import Page, sync_playwright

from courts import Court

MOUNTS: Final = ("", "/ibex")

QUIET: Final = (
    "--no-sandbox",  # the tests may run as root, which Chromium refuses otherwise
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""What keeps Chromium from asking its own hosts for anything."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of the Chromium that is on PATH."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        reason = "chromium is not on PATH, so the docs page was not looked at"
        if os.environ.get("CI"):  # noqa: TID251 - a test's own question, not the gateway's
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield browser.new_page()
        browser.close()


@confirms("ADR-0027.R3")
@pytest.mark.parametrize("mount", MOUNTS)
def test_the_docs_page_renders_alone_and_in_silence(outside: Court, page: Page, mount: str) -> None:
    """Every operation is shown; nothing is asked of another host, and the console stays empty."""
    messages: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{outside.transport.origin}{mount}/docs", wait_until="networkidle")
    page.wait_for_selector(".opblock-summary-path")
    shown = page.locator(".opblock").count()
    document = page.request.get(f"{outside.transport.origin}{mount}/openapi.json").json()

    assert sum(len(item.keys() - {"parameters"}) for item in document["paths"].values()) == shown
    assert [] == messages
    assert [] == [url for url in asked if not url.startswith((f"{outside.transport.origin}/", "data:"))]
