"""The data check of other repositories: the steps of action.yml, run by bash, and the hook of pre-commit."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.action_steps import ROOT, STEPS, run_step
from finetuning.datasets.formats import SUFFIXES, is_data
from tests.builders.datasets import any_chat_rows, any_file

(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def run_check(folder: Path, **inputs: str) -> tuple[int, list[str]]:
    """The action's check as the runner starts it in a repository: its exit code and the lines it prints."""
    program = folder / ".temp" / "finetune" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    done = run_step("Check", folder, folder / ".temp", {f"inputs.{name}": inputs[name] for name in inputs})
    return done.returncode, done.stdout.splitlines()


def test_the_action_annotates_the_line_of_a_bad_file_and_fails(tmp_path: Path) -> None:
    any_file(tmp_path, [*any_chat_rows(2), b"garbage"], "bad one.jsonl")
    any_file(tmp_path, any_chat_rows(9), "good.jsonl")
    code, printed = run_check(tmp_path, paths="bad one.jsonl\ngood.jsonl\n")
    assert code == 1
    assert [line.partition("::")[2].rpartition("::")[0] for line in printed] == [
        "error title=TOO_MANY_ERRORS",
        "error file=bad one.jsonl,line=3,title=JSON_INVALID",
        "notice title=Ready to train",
    ]


def test_the_action_passes_good_data_with_its_options(tmp_path: Path) -> None:
    any_file(tmp_path, [{"instruction": "Add", "input": str(n), "output": "7"} for n in range(9)], "sums.jsonl")
    assert run_check(tmp_path, paths="sums.jsonl", task="chat", model="meta-textgeneration-llama-3-1-8b") == (
        0,
        ["::notice title=Ready to train::8 rows, 1 held out"],
    )


@pytest.mark.parametrize("paths", ["", "\n\n", "--help", "$(touch broken-out)"])
def test_the_action_fails_if_there_is_nothing_to_check(tmp_path: Path, paths: str) -> None:
    assert run_check(tmp_path, paths=paths)[0] != 0
    assert [path.name for path in tmp_path.iterdir()] == [".temp"]


def test_the_action_installs_nothing_without_a_hash() -> None:
    install = STEPS["Install"]["run"]
    assert install.count(" install ") == install.count("--require-hashes") == 2
    locks = re.findall(r"\$GITHUB_ACTION_PATH/([\w./-]+\.txt)", install)
    assert len(locks) == 3
    assert all("--hash=sha256:" in (ROOT / lock).read_text(encoding="utf-8") for lock in locks)


def test_no_input_is_expanded_within_a_script() -> None:
    assert [name for name, step in STEPS.items() if "${{" in step["run"]] == []


@pytest.mark.parametrize("suffix", [*SUFFIXES, *(f"{each}.gz" for each in SUFFIXES), ".JSONL"])
def test_the_hook_starts_for_every_data_file(suffix: str) -> None:
    assert is_data(f"data/faq{suffix}")
    assert re.search(HOOK["files"], f"data/faq{suffix}")


@pytest.mark.parametrize("name", ["data/run.json", "data/template.json"])
def test_the_hook_starts_for_the_documents_beside_the_data(name: str) -> None:
    assert re.search(HOOK["files"], name)


def test_the_hook_does_not_start_for_other_files() -> None:
    assert not re.search(HOOK["files"], "src/main.py")
