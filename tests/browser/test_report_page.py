"""The report page in a browser, rendered from builders; tests/rehearsal covers the pages of real runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetuning.report.page import render
from tests.browser.audit import DESKTOP, PHONE, complaints
from tests.browser.chromium import Tab, chromium
from tests.builders.pages import PAGES, any_comparison_page, any_page, hostile_page
from tests.builders.runs import any_failed_status


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


HEIGHTS = {DESKTOP: 2_600, PHONE: 3_400}
"""Pixels of a good run's page before anything is unfolded: three screens of a desktop, about four of a phone."""


def any_pages() -> dict[str, str]:
    return {
        **{kind: any_page(kind) for kind in PAGES},
        "bare": render(any_failed_status(events=[], checks=[], links={}), stage="dev"),
        "hostile": hostile_page(),
        "comparison": any_comparison_page(),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("page", [*PAGES, "bare", "hostile", "comparison"])
def test_the_page_passes_the_audit(tab: Tab, tmp_path: Path, page: str, width: int, scheme: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(any_pages()[page], encoding="utf-8")
    assert complaints(tab, file.as_uri(), width=width, scheme=scheme, keep_as=page) == []


def test_the_pages_policy_allows_its_own_style(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(any_page("helped"), encoding="utf-8")
    tab.open(file.as_uri(), width=DESKTOP)
    assert tab.evaluate("getComputedStyle(document.querySelector('.headline')).borderLeftStyle") == "solid"


@pytest.mark.parametrize("width", HEIGHTS)
def test_the_page_of_a_good_run_is_short(tab: Tab, tmp_path: Path, width: int) -> None:
    file = tmp_path / "report.html"
    file.write_text(any_page("helped"), encoding="utf-8")
    tab.open(file.as_uri(), width=width)
    assert tab.evaluate("document.documentElement.scrollHeight") <= HEIGHTS[width]


def test_a_chart_is_as_wide_as_its_section(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(any_page("helped"), encoding="utf-8")
    tab.open(file.as_uri(), width=PHONE)
    right = "document.querySelector('{}').getBoundingClientRect().right"
    gap = tab.evaluate(f"{right.format('[aria-labelledby=training]')} - {right.format('.area')}")
    assert 0 < gap < 40


def test_a_clamped_answer_opens_without_a_script(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(any_page("helped"), encoding="utf-8")
    tab.open(file.as_uri(), width=PHONE)
    height = "document.querySelector('.clamped').getBoundingClientRect().height"
    before = tab.evaluate(height)
    tab.evaluate("document.querySelector('.clamped summary').click()")
    assert tab.evaluate(height) > 2 * before


def test_hostile_data_creates_no_script(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(hostile_page(), encoding="utf-8")
    tab.open(file.as_uri(), width=PHONE)
    assert tab.evaluate("document.scripts.length") == 0


FAULTS = {
    "console": "<script>console.error('x')</script>",
    "fetches": "<img alt='' src='http://127.0.0.1:9/x.png'>",
    "pixels wide": "<div style='width:2000px'>x</div>",
    "hard to see": "<p style='color:#ddd;background:#fff'>x</p>",
    "image-alt": "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_audit_finds_each_fault(tab: Tab, tmp_path: Path, fault: str) -> None:
    file = tmp_path / "bad.html"
    file.write_text(f"<!doctype html><html lang=en><title>x</title><main><h1>x</h1>{FAULTS[fault]}</main>")
    assert any(fault in each for each in complaints(tab, file.as_uri(), width=PHONE, scheme="light"))


def test_the_audit_finds_a_blank_page(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "blank.html"
    file.write_text("<!doctype html><html lang=en><title>x</title><main></main>")
    assert any("blank" in each for each in complaints(tab, file.as_uri(), width=PHONE, scheme="light", keep_as="blank"))
