"""The documentation's site, as `make docs` built it: nothing comes from another server, and diagrams are drawn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Tab, chromium

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
SCREENSHOTS = SITE.parent / "screenshots"
PAGES = {"README": 1, "docs/architecture": 3, "docs/security": 1, "docs/tutorial": 0, "docs/runbook": 0}
"""Some pages, and how many diagrams each has."""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    assert SITE.is_dir(), "run `make docs`"
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def wait_for(tab: Tab, condition: str) -> None:
    """Waits, at most ten seconds, until the page's scripts have made it true."""
    tab.evaluate(
        "new Promise(done => { const end = Date.now() + 10000; (function wait() "
        f"{{ {condition} || Date.now() > end ? done() : setTimeout(wait, 50) }})() }})"
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_complete_by_itself_and_fits_the_screen(tab: Tab, page: str, width: int, scheme: str) -> None:
    tab.open((SITE / f"{page}.html").as_uri(), width=width, scheme=scheme)
    drawn = "document.querySelectorAll('pre.mermaid svg').length"
    wait_for(tab, f"{drawn} >= {PAGES[page]}")
    tab.screenshot(SCREENSHOTS / f"site-{page.replace('/', '-')}-{width}.png")
    requested = [each["request"]["url"] for each in tab.happened("Network.requestWillBeSent")]
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    assert [each["entry"]["text"] for each in tab.happened("Log.entryAdded")] == []
    assert tab.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)") == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(drawn) == PAGES[page]


def test_the_search_finds_an_error_code(tab: Tab) -> None:
    tab.open(f"{(SITE / 'search.html').as_uri()}?q=TRAINING_NO_CAPACITY", width=1280)
    found = "[...document.querySelectorAll('#search-results li a')].map(link => link.textContent)"
    wait_for(tab, f"{found}.length")
    assert "Runbook" in tab.evaluate(found)
