"""The first hour of two people, each with the README's commands alone: how long until each prints something, and ends.

The platform engineer deploys a stage from a clean clone, to an emulated AWS; the data scientist goes from `init` to an
answer, in an environment that has the command and nothing else. The README's code blocks are run line by line in a
terminal, and questions are answered. Three things are put in: the clone's folder for `pipx install`, which is no
package of an index yet; the questions and answers of `examples/faq`; and the endpoint's name, which `submit` prints.
"""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rehearsal import jumpstart_cache, running
from rehearsal.running import PROJECT, Emulator

README = (PROJECT / "README.md").read_text(encoding="utf-8")
REPLIES = {
    r"\(y/n\)\W*$": "y",
    r"Do you accept it \(yes, no, read\)\?.*: ?$": "yes",
    r"in USD \(0: the stage's limit\).*: ?$": "20",
    r"\]: ?$": "",
}
"""What is typed where the last line of the output is such a question; an empty reply takes the default."""
OUTPUT = PROJECT / "build" / "first-hour.log"
"""What the commands print."""
SECONDS = 1800
ENDED_RUN = (0, 3, 4)
"""Exit codes of `submit --watch` for a run that ended; 3 and 4 are about its verdict (docs/commands.md)."""
_ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\x1b[=>]")


@dataclass(frozen=True)
class Timed:
    """A command that has ended. `first`: seconds until its first output, or until its end if it printed nothing."""

    line: str
    first: float
    whole: float
    code: int
    printed: str


def commands_below(title: str) -> list[str]:
    """The lines of the first code block below that title of the README, without their comments."""
    _, _, below = README.partition(f"## {title}\n")
    (block,) = re.findall(r"^```\n(.*?)^```", below.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+#.*", "", line) for line in block.splitlines()]


def typed(line: str, folder: Path, environment: Mapping[str, str]) -> Timed:
    """Runs a line in a terminal of its own."""
    ours, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (50, 120))
    settings = termios.tcgetattr(terminal)
    settings[3] &= ~termios.ECHO  # what is typed is no output
    termios.tcsetattr(terminal, termios.TCSANOW, settings)
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 — the README's words
        ["/bin/bash", "-c", line],
        cwd=folder,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    first, printed, unanswered = None, "", ""
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    with OUTPUT.open("a", encoding="utf-8") as kept, _ended_with_us(process):
        print(f"$ {line}", file=kept)
        for part in _parts(ours, began + SECONDS):
            first = first or time.monotonic() - began
            print(part, end="", file=kept, flush=True)
            printed, unanswered = printed + part, unanswered + part
            last_line = _ESCAPES.sub("", unanswered).rsplit("\n", 1)[-1]
            for question, reply in REPLIES.items():
                if re.search(question, last_line):
                    os.write(ours, f"{reply}\n".encode())
                    unanswered = ""
                    break
    os.close(ours)
    code = process.wait(timeout=60)
    whole = time.monotonic() - began
    return Timed(line, first or whole, whole, code, _ESCAPES.sub("", printed).replace("\r", ""))


@contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C and a time-out leave nothing running."""
    try:
        yield
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def _parts(terminal: int, deadline: float) -> Iterator[str]:
    """The output as it comes, until the command closes its terminal."""
    while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's end of a terminal that nobody has open any more
            return
        if not part:
            return
        yield part.decode(errors="replace")
    raise TimeoutError(f"not at its end after {SECONDS} s")


def platform_engineer(emulator: Emulator, clone: Path) -> Iterator[Timed]:
    environment = _with_environment(emulator, clone / ".venv")
    for line in commands_below("Start: the platform engineer"):
        yield typed(line, clone, environment)


def data_scientist(emulator: Emulator, clone: Path, home: Path) -> Iterator[Timed]:
    environment, endpoint = _with_environment(emulator, home / "venv"), ""
    (home / "questions.csv").write_bytes((PROJECT / "examples" / "faq" / "faq.csv").read_bytes())
    for line in commands_below("Start: the data scientist"):
        if line.startswith("pipx install"):
            line = f"python3 -m venv {home / 'venv'} && {home / 'venv'}/bin/pip install {clone}"
        done = typed(line.replace("ENDPOINT", endpoint), home, environment)
        if named := re.search(r"finetune ask (finetune-dev-[\w-]+)", done.printed):
            endpoint = named[1]
        yield done


def _with_environment(emulator: Emulator, venv: Path) -> dict[str, str]:
    """What a person's shell has, with this virtual environment active."""
    kept = {name: value for name, value in emulator.environment().items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "PATH": f"{venv / 'bin'}{os.pathsep}{kept['PATH']}", "COLUMNS": "120"}


def main() -> int:
    OUTPUT.unlink(missing_ok=True)
    emulator = running.start(
        running.HOME / "state" / str(os.getpid()), running.base_model("smollm2"), wait_scale=0.2, max_new_tokens=96
    )
    failed = False
    try:
        jumpstart_cache.fill(emulator)
        with tempfile.TemporaryDirectory() as folder:
            clone, home = Path(folder) / "clone", Path(folder) / "home"
            home.mkdir()
            subprocess.run(["git", "clone", "--quiet", PROJECT, clone], check=True)  # noqa: S603, S607
            print("| command | first output after | ends after |\n|---|---|---|")
            for person, commands in (
                ("the platform engineer", platform_engineer(emulator, clone)),
                ("the data scientist", data_scientist(emulator, clone, home)),
            ):
                whole = 0.0
                for done in commands:
                    whole += done.whole
                    shown = done.line.replace(folder + "/", "")
                    print(f"| `{shown}` | {done.first:.1f} s | {done.whole:.1f} s |", flush=True)
                    if done.code not in (ENDED_RUN if " --watch" in done.line else (0,)):
                        failed = True
                        print(f"{done.printed[-3000:]}\n`{done.line}` ended with {done.code}", file=sys.stderr)
                print(f"| **{person}** | | **{whole / 60:.1f} min** |", flush=True)
                last = done
            print(f"\nThe answer: {last.printed.strip()}")
    finally:
        emulator.stop()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
