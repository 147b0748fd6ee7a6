"""What is wrong with a page, as a browser, a reader's eyes and a screen reader meet it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.browser.chromium import HERE, Tab

PHONE, DESKTOP = 390, 1280
SCREENSHOTS = HERE.parents[1] / "build" / "screenshots"
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"

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


def complaints(tab: Tab, url: str, *, width: int, scheme: str, keep_as: str = "") -> list[str]:
    """Opens the page and looks at it; an empty list is good. `keep_as` names the screenshot in `SCREENSHOTS`."""
    tab.open(url, width=width, scheme=scheme)
    found = [*_reported(tab), *_fetched(tab, url), *_looks(tab, width, scheme)]
    if keep_as:
        file = SCREENSHOTS / f"{keep_as}-{width}-{scheme}.png"
        seen = tab.screenshot(file)
        found += _blank(file, seen, width)
    return [*found, *_inaccessible(tab)]


def _reported(tab: Tab) -> Iterator[str]:
    for entry in tab.happened("Log.entryAdded"):
        yield f"console: {entry['entry']['text']}"
    for event in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening"):
        yield from (f"{event}: {each}" for each in tab.happened(event))


def _fetched(tab: Tab, url: str) -> Iterator[str]:
    wanted = [request["request"]["url"] for request in tab.happened("Network.requestWillBeSent")]
    yield from (f"fetches {each}" for each in wanted if each != url)


def _looks(tab: Tab, width: int, scheme: str) -> Iterator[str]:
    if not tab.evaluate(f"matchMedia('(prefers-color-scheme: {scheme})').matches"):
        yield f"is not shown {scheme}"
    if (wide := tab.evaluate("document.documentElement.scrollWidth")) > width:
        yield f"is {wide} pixels wide on a screen of {width}"
    yield from (f"text is hard to see: {each}" for each in tab.evaluate(FAINT_TEXTS))


def _blank(file: Path, seen: tuple[int, int], width: int) -> Iterator[str]:
    """A page of text compresses to far more than a page of nothing, which takes about a byte a line."""
    shown_width, height = seen
    if shown_width != width:
        yield f"the screenshot is {shown_width} pixels wide, not {width}"
    if file.stat().st_size < 10 * height:
        yield f"the screenshot is blank: {file.stat().st_size} bytes for {height} lines"


def _inaccessible(tab: Tab) -> Iterator[str]:
    """What axe finds by all its rules. It fetches no style sheets again: the page's policy forbids that."""
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    result: dict[str, Any] = tab.evaluate("axe.run(document, {preload: false, resultTypes: ['violations']})")
    for violation in result["violations"]:
        targets = "; ".join(" ".join(map(str, node["target"])) for node in violation["nodes"][:3])
        yield f"axe {violation['id']} ({violation['impact']}): {violation['help']}: {targets}"
