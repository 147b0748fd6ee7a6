"""`python -m tests.browser.pictures`: makes the README's pictures (docs/media) from a rehearsal on this machine."""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from tests.browser.audit import DESKTOP
from tests.browser.chromium import HERE, chromium

PROJECT = HERE.parents[1]
MEDIA = PROJECT / "docs" / "media"
COLUMNS = 118
SHOWN_HEIGHT = 860
"""Of the report page, in CSS pixels: the verdict, the answers and the losses."""
SHOWN = re.compile(
    r"^(\S.* ─+| ✅  finetune|\d\d:\d\d:\d\d |s3://\S+/runs/chat/"
    r"|Tuning |training loss|validation loss|Duration: |Ask it: )"
)
"""Lines of the rehearsal: without the CDK CLI's own output and the table of answers, which the other picture has."""
SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's own form without the font it would fetch."""


def main() -> None:
    output = rehearse()
    MEDIA.mkdir(exist_ok=True)
    draw_terminal(output, MEDIA / "rehearsal.svg")
    (report,) = re.findall(r"^Local copy of the report: +(\S+)$", output, re.MULTILINE)
    photograph(Path(report), MEDIA / "report.png")


def rehearse() -> str:
    """What `make rehearse` prints. Raises `CalledProcessError` if it fails."""
    command = [sys.executable, "-m", "rehearsal", "run", "--example", "chat"]
    environment = os.environ | {"COLUMNS": str(COLUMNS)}
    return subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def draw_terminal(output: str, to: Path) -> None:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for line in filter(SHOWN.match, output.splitlines()):
            console.print(line, style="bold" if line.endswith("─") else "", soft_wrap=not line.startswith("Tuning"))
        svg = console.export_svg(title="make rehearse", theme=SVG_EXPORT_THEME, code_format=SVG, unique_id="rehearsal")
    to.write_text(svg, encoding="utf-8")


def photograph(page: Path, to: Path) -> None:
    clip = {"x": 0, "y": 0, "width": DESKTOP, "height": SHOWN_HEIGHT, "scale": 1}
    with TemporaryDirectory() as profile, chromium(Path(profile)) as tab:
        tab.open(page.as_uri(), width=DESKTOP)
        shot = tab.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
    to.write_bytes(base64.b64decode(shot))


if __name__ == "__main__":
    main()
