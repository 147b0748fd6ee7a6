"""The report page as a browser shows it. Skipped where there is no Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetuning.report.page import render
from tests.browser.chromium import PROGRAM, Tab, chromium
from tests.runs import any_dataset, any_evaluation, any_plan, any_status
from tests.unit.report.test_page import hostile_page

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine")

PHONE = 360

FAINT_TEXTS = """
(() => {
  const channel = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = colour => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map(Number).map(channel);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own) continue;
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [light, dark] = [luminance(ink), luminance(behind(element))].sort((a, b) => b - a);
    if ((light + 0.05) / (dark + 0.05) < 4.5) faint.push(`${element.tagName}.${element.getAttribute('class')}: ${ink}`);
  }
  return faint;
})()
"""
"""Elements whose text stands out from its background by less than WCAG's 4.5 to 1."""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def report(tmp_path: Path) -> Path:
    page = tmp_path / "report.html"
    page.write_text(
        render(any_status(), stage="dev", plan=any_plan(), evaluation=any_evaluation(), dataset=any_dataset()),
        encoding="utf-8",
    )
    return page


def test_the_page_fits_a_phone(tab: Tab, report: Path) -> None:
    tab.open(report, width=PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_in_dark(tab: Tab, report: Path, scheme: str) -> None:
    tab.open(report, width=1100, scheme=scheme)
    assert tab.evaluate(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
    assert tab.evaluate(FAINT_TEXTS) == []


def test_the_style_is_let_through_by_the_pages_own_policy(tab: Tab, report: Path) -> None:
    tab.open(report, width=1100)
    assert tab.evaluate("getComputedStyle(document.querySelector('.headline')).borderLeftStyle") == "solid"
    assert tab.happened("Log.entryAdded") == []


def test_hostile_data_runs_nothing_and_fetches_nothing(tab: Tab, tmp_path: Path) -> None:
    page = tmp_path / "hostile.html"
    page.write_text(hostile_page(), encoding="utf-8")
    tab.open(page, width=PHONE)
    assert [request["request"]["url"] for request in tab.happened("Network.requestWillBeSent")] == [page.as_uri()]
    assert tab.happened("Page.javascriptDialogOpening") == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE
    assert tab.evaluate("document.scripts.length") == 0
