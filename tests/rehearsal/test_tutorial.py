"""The tutorial as a reader follows it: its commands in their order, its run.json, no other knowledge."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from rehearsal.running import PROJECT
from tests.rehearsal.support.product import Product
from tests.rehearsal.support.terminal import Terminal

TEXT = (PROJECT / "docs" / "tutorial.md").read_text(encoding="utf-8")
TYPED = {"init": "yes\n20\n", "clean-up": "y\n"}
"""Answers to a command's questions."""
VERDICTS = {0, 3, 4}
"""Exit codes of a run that ended: the toy model of the tests does not learn the example."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "examples").mkdir()
    shutil.copytree(PROJECT / "examples" / "faq", tmp_path / "examples" / "faq")
    return tmp_path


def test_the_tutorial_leads_from_a_csv_file_to_an_answer(product: Product, folder: Path) -> None:
    terminal, names, printed = Terminal(product.emulator, folder), {"RUN": "", "ENDPOINT": ""}, {}
    for block, language in blocks():
        if language == "json":
            (folder / "faq" / "run.json").write_text(block, encoding="utf-8")
        for line in block.splitlines() if not language else ():
            program, *words = shlex.split(line, comments=True) or [""]
            if program == "cp":
                shutil.copy(folder / words[0], folder / words[1])
            elif program == "finetune":
                said = terminal.finetune(*(names.get(word, word) for word in words), answer=TYPED.get(words[0], ""))
                assert said.code in (VERDICTS if words[0] == "submit" else {0}), said.printed
                printed[words[0]] = said.printed
                if endpoint := re.search(r"finetune ask (finetune-dev-(\S+))", said.printed):
                    names = {"ENDPOINT": endpoint[1], "RUN": endpoint[2]}
    assert [*printed] == ["check", "init", "plan", "submit", "ask", "endpoints", "clean-up"]
    assert "32 rows to train on, 8 held out" in printed["submit"]
    assert len(printed["ask"].strip()) > 0
    assert names["ENDPOINT"] in printed["endpoints"]
    assert names["RUN"] in printed["clean-up"]


def blocks() -> list[tuple[str, str]]:
    """Code blocks and their language. The blocks that show output begin with no command."""
    return [
        (block, language) for language, block in re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    ]
