"""The documents that lead from data to an answer, as a reader follows them: their commands in their order, no other
knowledge.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from rehearsal.running import PROJECT
from tests.rehearsal.support.product import Product
from tests.rehearsal.support.terminal import Terminal

CLIENTS = PROJECT / ".venv-clients" / "bin" / "python"
TYPED = {"init": "yes\n20\n", "clean-up": "y\n"}
"""Answers to a command's questions."""
VERDICTS = {0, 3, 4}
"""Exit codes of a run that ended: the toy model of the tests does not learn the example."""
PLACEHOLDERS = {
    "ENDPOINT": r"finetune ask (finetune-dev-\S+)",
    "RUN": r"finetune ask finetune-dev-(\S+)",
    "BASE_URL": r"For OpenAI's clients: (\S+)",
}
"""What a reader takes from what was printed."""


@pytest.fixture
def terminal(product: Product, tmp_path: Path) -> Terminal:
    """In a folder with the examples."""
    shutil.copytree(PROJECT / "examples", tmp_path / "examples")
    return Terminal(product.emulator, tmp_path)


def followed(document: str, terminal: Terminal) -> tuple[dict[str, str], dict[str, str]]:
    """What each command of the document printed, and what stood for its placeholders. A block of JSON is run.json."""
    names, printed = dict.fromkeys(PLACEHOLDERS, ""), {}
    for block, language in blocks(document):
        if language == "json":
            (terminal.folder / "faq" / "run.json").write_text(block, encoding="utf-8")
        for line in block.splitlines() if not language else ():
            program, *words = shlex.split(line, comments=True) or [""]
            if program == "cp":
                shutil.copy(terminal.folder / words[0], terminal.folder / words[1])
            elif program == "finetune":
                said = terminal.finetune(*(names.get(word, word) for word in words), answer=TYPED.get(words[0], ""))
                assert said.code in (VERDICTS if words[0] == "submit" else {0}), said.printed
                printed[words[0]] = said.printed
            elif "python" in words:
                for name, value in names.items():
                    line = line.replace(name, value) if value else line
                said = terminal.shell(line, CLIENTS)
                assert said.code == 0, said.printed
                printed["python"] = said.printed
            for name, pattern in PLACEHOLDERS.items():
                if program == "finetune" and (found := re.search(pattern, said.printed)):
                    names[name] = found[1]
    return printed, names


def test_the_tutorial_leads_from_a_csv_file_to_an_answer(terminal: Terminal) -> None:
    printed, names = followed("tutorial", terminal)
    assert [*printed] == ["check", "init", "plan", "submit", "ask", "endpoints", "clean-up"]
    assert "32 rows to train on, 8 held out" in printed["submit"]
    assert len(printed["ask"].strip()) > 0
    assert names["ENDPOINT"] in printed["endpoints"]
    assert names["RUN"] in printed["clean-up"]


def test_a_job_of_openai_leads_to_an_answer_of_its_client(terminal: Terminal) -> None:
    if not CLIENTS.exists():
        pytest.skip("the clients' environment is not there: run `make test-rehearsal`")
    printed, names = followed("moving-from-openai", terminal)
    assert [*printed] == ["from-openai", "plan", "submit", "endpoints", "python", "clean-up"]
    assert "30 rows to train on, 10 held out" in printed["submit"]
    assert names["BASE_URL"].endswith("/endpoints/finetune-dev-workshop/openai/v1")
    half = len(printed["python"]) // 2
    assert printed["python"][:half] == printed["python"][half:]  # whole, and as a stream
    assert len(printed["python"].strip()) > 0


def blocks(document: str) -> list[tuple[str, str]]:
    """Code blocks and their language. The blocks that show output begin with no command."""
    text = (PROJECT / "docs" / f"{document}.md").read_text(encoding="utf-8")
    return [
        (block, language) for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]
