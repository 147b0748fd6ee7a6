"""`python -m tests.browser.dashboard`: draws the dashboard of dev from its body, as build/screenshots/dashboard.png.

The grid, the titles and what each widget shows are the template's; only CloudWatch has the values.
"""

import base64
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.browser.chromium import HERE, chromium
from tests.infra.synthesis import synthesise

PICTURE = HERE.parents[1] / "build" / "screenshots" / "dashboard.png"
WIDTH, CELL = 1440, 48
"""CSS pixels of the page, and of a row of the grid."""
STYLE = f"""
body {{ margin: 0; font: 13px sans-serif; background: #f2f3f3; width: {WIDTH}px }}
main {{ display: grid; grid-template-columns: repeat(24, 1fr); grid-auto-rows: {CELL}px; gap: 4px; padding: 4px }}
section {{ background: #fff; border: 1px solid #d5dbdb; padding: 6px 10px; overflow: hidden }}
h2 {{ font-size: 14px; margin: 0 0 4px }} li {{ overflow-wrap: anywhere; color: #545b64; margin-left: -20px }}
ul {{ margin: 0 }} b {{ color: #0972d3 }}
"""


def page(body: dict[str, Any]) -> str:
    """The dashboard as HTML."""
    variables = "".join(f"<p><b>{escape(v['label'])}</b>: {escape(v['defaultValue'])}</p>" for v in body["variables"])
    return f"<style>{STYLE}</style>{variables}<main>{''.join(map(_section, body['widgets']))}</main>"


def _section(widget: dict[str, Any]) -> str:
    x, y, width, height = (widget[key] for key in ("x", "y", "width", "height"))
    place = f"grid-area: {y + 1} / {x + 1} / span {height} / span {width}"
    shown = widget["properties"]
    if "markdown" in shown:
        return f'<section style="{place}">{escape(shown["markdown"])}</section>'
    items = [*map(_line, shown.get("metrics", [])), *shown.get("alarms", []), *filter(None, [shown.get("query")])]
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<section style="{place}"><h2>{escape(shown["title"])}</h2><ul>{listed}</ul></section>'


def _line(line: list[Any]) -> str:
    if isinstance(line[0], dict):
        return str(line[0]["expression"])
    options = line[-1] if isinstance(line[-1], dict) else {}
    return f"{options.get('label', line[1])}: {line[0]} {line[1]}"


def main() -> None:
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, chromium(Path(folder) / "profile") as tab:
        html = Path(folder) / "dashboard.html"
        html.write_text(page(synthesise("dev", Path(folder) / "cdk.out").dashboard()), encoding="utf-8")
        tab.open(html.as_uri(), width=WIDTH)
        height = tab.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
        picture = tab.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
    PICTURE.write_bytes(base64.b64decode(picture))
    print(PICTURE)


if __name__ == "__main__":
    main()
