"""`python -m tests.mutants [--processes N] [PATTERN ...]`: fails if a mutant survives that accepted.toml does not list.

mutmut changes one thing in one function and runs the tests that call it; [tool.mutmut] in pyproject.toml says where.
A PATTERN such as `finetuning.runs.expiry*` limits the run to the mutants it matches.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.mutants.verdict import Accepted, judge, read_mutants

ROOT = Path(__file__).resolve().parents[2]
STAGE = ROOT / "build" / "mutants"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 2)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    options = parser.parse_args()
    lay_out()
    # PYTHONPATH would lead to the unchanged code.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    mutmut = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", str(options.processes)]
    finished = subprocess.run([*mutmut, *options.patterns], cwd=STAGE, env=environment, check=False)
    if finished.returncode:
        return finished.returncode
    os.chdir(STAGE)  # mutmut reads its own files relative to this
    return report(partial=bool(options.patterns))


def lay_out() -> None:
    """Show the repository to mutmut with its sources below `src`: it takes a function's name from its path there."""
    shutil.rmtree(STAGE, ignore_errors=True)
    (STAGE / "mutants").mkdir(parents=True)
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("build", "lambda", "node_modules"):
            (STAGE / path.name).symlink_to(path)
    (STAGE / "src").symlink_to(ROOT / "lambda")
    (STAGE / "mutants" / "lambda").symlink_to("src")  # for tests that read files below lambda/


def report(*, partial: bool) -> int:
    """Print the mutants that are not listed and the count of each package; 1 if there is something to do."""
    mutants = [mutant for mutant in read_mutants(Path("mutants")) if not partial or mutant.status != "not checked"]
    verdict = judge(mutants, Accepted.read(ROOT / "tests" / "mutants" / "accepted.toml"))
    for mutant in verdict.unlisted:
        print(f"\n{mutant.status}: {mutant.function} ({mutant.name.rpartition('_')[2]})", *mutant.diff, sep="\n")
    stale = [] if partial else verdict.stale
    for function, change in stale:
        print(f"\nno such mutant survives, drop its entry: {function}\n{change}")
    print(f"\n{'package':<12}{'mutants':>9}{'killed':>9}{'wording':>9}{'listed':>9}{'not listed':>12}")
    for package, count in verdict.counts.items():
        cells = f"{count.total:>9,}{count.killed:>9,}{count.wording:>9,}{count.listed:>9,}{count.unlisted:>12,}"
        print(f"{package:<12}{cells}")
    return 1 if verdict.unlisted or stale else 0


if __name__ == "__main__":
    sys.exit(main())
