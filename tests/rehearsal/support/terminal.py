"""`finetune` as it is typed at a terminal's prompt, and what it printed as a readable golden.

What differs between runs is replaced in goldens: ids, times, costs, losses, links, answers.
`UPDATE_GOLDENS=1` rewrites the goldens; review the difference before you commit it.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.running import PROJECT, Emulator

GOLDENS = Path(__file__).parents[1] / "cli"
WIDTH = 100
PATHS = os.pathsep.join(str(PROJECT / root) for root in ("cli", "lambda", ""))

_METRIC = re.compile(r"^00:00:00Z (?:metric|progress) .*\n", re.MULTILINE)
_PROGRESS = re.compile(r"(?:^00:00:00Z (?:DescribeTraining|DescribeEndpoint) .*\n)+", re.MULTILINE)
_TABLE = re.compile(r"(^ +Answers to prompts.*\n┏.*\n┃.*\n)(?:[┡│├└┃].*\n)+", re.MULTILINE)
_VOLATILE = (
    (r"\x1b\[[\d;?]*[A-Za-z]", ""),
    (r"https?://127\.0\.0\.1:\d+/\S+", "<link>"),
    (r"-[0-9a-f]{8}\b", "-00000000"),
    (r"(finetune-dev-storage-[a-z]+?)[0-9a-f]{8}-[0-9a-z]{12,13}\b", r"\1"),
    (r"finetune-dev-workflow-[\w-]+", "finetune-dev-workflow-…"),
    (r"S3 request [0-9A-Z]{16} ", "S3 request <id> "),
    (r"(?<=run\.json version )[\w-]+", "<version>"),
    (r"^\d\d:\d\d:\d\dZ ", "00:00:00Z "),
    (r"(?<=\s)\d+:\d\d(?::\d\d)?(?=[\s.:])", "0:00"),
    (r"ROUGE-L \d\.\d\d", "ROUGE-L 0.00"),
    (r"\b\d\d [A-Z][a-z]{2} \d?\d:\d\d", "01 Jan 0:00"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)", "<time>"),
    (r"(loss +\S+  )\d+\.\d\d( → \d+\.\d\d)?", r"\g<1>0.00"),
    (r"\d+\.\d\d USD", "0.00 USD"),
    (r"\bin (?:\d+ h )?\d+ (?:min|h)\b", "in 0 min"),
    (r"\d+ with problems", "0 with problems"),
    (r"(?<=loss)( +)[▁-█]+", r"\1▁"),
    (r"(?:Tuning |Too few prompts |ROUGE-L of the tuned model|No prompt |\d+ of \d+ answers differ).*$", "<verdict>"),
    (r"^ ─[ ─]*$", " ───"),
)


def normalised(printed: str) -> str:
    printed = "".join(_normalised_line(line) + "\n" for line in printed.splitlines())
    printed = _PROGRESS.sub("00:00:00Z … progress\n", _METRIC.sub("", printed))
    return _TABLE.sub(r"\1… the answers\n", printed)


def _normalised_line(line: str) -> str:
    """A replacement shifts the columns after it, so runs of spaces are collapsed then."""
    found = 0
    for pattern, replacement in _VOLATILE:
        line, count = re.subn(pattern, replacement, line)
        found += count  # also where a value happens to equal its replacement
    return (re.sub(r"(?<=\S) {2,}", "  ", line) if found else line).rstrip()


@dataclass(frozen=True)
class Said:
    """What a command printed on both outputs, and its exit code."""

    command: str
    code: int
    printed: str

    @property
    def json(self) -> Any:
        return json.loads(self.printed)

    def assert_matches(self, golden: str, *, exactly: bool = False) -> None:
        """Compares with the golden of that name, without replacements if `exactly`."""
        printed = re.sub(r"[ \t]+$", "", self.printed, flags=re.MULTILINE) if exactly else normalised(self.printed)
        said = f"$ finetune {normalised(self.command)}{printed}[exit {self.code}]\n"
        file = GOLDENS / f"{golden}.txt"
        if os.environ.get("UPDATE_GOLDENS"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(said, encoding="utf-8")
        assert said == file.read_text(encoding="utf-8")


def _hear_ctrl_c() -> None:
    """Background processes, such as test runs, often start with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Typed:
    """A running command."""

    def __init__(self, environment: Mapping[str, str], words: tuple[str, ...], folder: Path) -> None:
        self._words = words
        dumb = {"COLUMNS": str(WIDTH), "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "finetuning_cli", *words],
            cwd=folder,
            env={**environment, "PYTHONPATH": PATHS, **dumb},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_hear_ctrl_c,
        )

    def until(self, printed: str) -> None:
        """Waits for a line that contains this text; `said` will not include it."""
        assert self._process.stdout
        for line in self._process.stdout:
            if printed in line:
                return
        raise AssertionError(f"finetune {' '.join(self._words)} ended without {printed!r}")

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def said(self, answer: str = "", seconds: float = 900) -> Said:
        """What it printed when it has ended; `answer` is its input."""
        printed, _ = self._process.communicate(answer, timeout=seconds)
        return Said(" ".join(self._words), self._process.returncode, printed)

    @property
    def goes_on(self) -> bool:
        return self._process.poll() is None


@dataclass(frozen=True)
class Terminal:
    """A folder to run commands in, with the environment of an operator of the emulated AWS."""

    emulator: Emulator
    folder: Path
    role: str = ""
    """The ARN of the role that the person has, instead of the operator's."""

    def start(self, *words: str) -> Typed:
        environment = self.emulator.environment_of(self.role) if self.role else self.emulator.environment()
        return Typed(environment, words, self.folder)

    def finetune(self, *words: str, answer: str = "") -> Said:
        return self.start(*words).said(answer)

    def shell(self, line: str, python: Path) -> Said:
        """A whole line of a shell, in which `python` is that one."""
        commands = f'finetune() {{ "{sys.executable}" -m finetuning_cli "$@"; }}; python() {{ "{python}" "$@"; }}; '
        environment = {**self.emulator.environment(), "PYTHONPATH": PATHS}
        done = subprocess.run(
            ["bash", "-c", commands + line], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        return Said(line, done.returncode, done.stdout + (done.stderr if done.returncode else ""))
