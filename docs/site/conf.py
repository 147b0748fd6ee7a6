"""The documentation as a site: `make docs` builds it into build/site.

The pages are the Markdown files of the repository, as GitHub shows them. A link to any other file of the repository
becomes a download. Nothing is loaded from another server.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

NAVIGATION = {
    "Start": ("tutorial", "moving-from-openai", "choosing", "article", "rehearsal"),
    "Use": ("commands", "datasets", "calling", "ci", "limits"),
    "Operate": (
        "operating",
        "accounts",
        "reuse",
        "pay-per-use",
        "first-run",
        "live/README",
        "runbook",
        "console",
        "performance",
    ),
    "Understand": ("architecture", "security", "jumpstart", "glossary", "adr/README"),
}
PROJECT_PAGES = ("CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT", "CHANGELOG", "README.zh")

project = "Fine-tune Llama on AWS"
project_copyright = "Apache License 2.0"
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/adr/*.md", "docs/live/*.md"]
exclude_patterns = ["docs/site"]
extensions = ["myst_parser", "sphinx_copybutton"]
myst_heading_anchors = 6  # as GitHub names them
myst_fence_as_directive = ["mermaid"]
suppress_warnings = ["misc.highlighting_failure"]  # an ellipsis in an example is no Python

html_theme = "furo"
html_title = project
html_static_path = ["node_modules/@mermaid-js/tiny/dist", "diagrams.js", "site.css"]
html_css_files = ["site.css"]
html_extra_path = ["index.html"]
html_show_sphinx = False
html_copy_source = False
html_permalinks_icon = "#"


class Mermaid(SphinxDirective):
    """A diagram, which the browser draws: GitHub takes the same block."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", f'<pre class="mermaid">{escape(chr(10).join(self.content))}</pre>', format="html")]


def add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """Appends the contents of the side bar to the pages under which they are; GitHub shows these without."""
    chapters: dict[str, Sequence[str]] = {}
    if docname == root_doc:
        chapters = {caption: [f"docs/{page}" for page in pages] for caption, pages in NAVIGATION.items()}
        chapters["Project"] = PROJECT_PAGES
    elif docname == "docs/adr/README":
        chapters["Records"] = sorted(path.stem for path in Path(app.srcdir, "docs", "adr").glob("0*.md"))
    for caption, pages in chapters.items():
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", *pages, "```", ""])


def add_diagrams(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    """Loads the library of diagrams, which is large, only where there is one."""
    if '<pre class="mermaid">' in context.get("body", ""):
        app.add_js_file("mermaid.tiny.js")
        app.add_js_file("diagrams.js")


def setup(app: Sphinx) -> None:
    app.add_directive("mermaid", Mermaid)
    app.connect("source-read", add_navigation)
    app.connect("html-page-context", add_diagrams)
