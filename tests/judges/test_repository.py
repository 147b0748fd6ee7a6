"""External validators on the files that GitHub and pre-commit read, and the hook as pre-commit runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.builders.datasets import any_chat_rows, any_file

ROOT = Path(__file__).resolve().parents[2]
AUDIT = ROOT / ".venv-audit" / "bin"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(set((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) - {ROOT / ".github/ISSUE_TEMPLATE/config.yml"})
SCHEMAS = {
    "github-actions": [ROOT / "action.yml"],
    "dependabot": [ROOT / ".github" / "dependabot.yml"],
    "github-issue-config": [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"],
    "github-issue-forms": FORMS,
    "github-workflows": WORKFLOWS,
}


def judged(*command: str | Path, folder: Path = ROOT, **environment: str) -> tuple[int, str]:
    """The exit code of a program of .venv-audit, and what it printed."""
    program, *words = command
    done = subprocess.run(
        [AUDIT / program, *words],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_actionlint_finds_nothing() -> None:
    assert judged("actionlint", *WORKFLOWS) == (0, "")


def test_actionlint_finds_an_expression_that_does_not_exist(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("matrix.python", "matrix.pyhton"))
    code, printed = judged("actionlint", broken)
    assert code == 1
    assert '"pyhton" is not defined' in printed


def test_zizmor_finds_nothing() -> None:
    code, printed = judged("zizmor", "--offline", "--no-progress", "--strict-collection", ROOT)
    assert code == 0, printed


def test_zizmor_finds_an_action_that_is_not_pinned(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(
        WORKFLOWS[0].read_text(encoding="utf-8").replace("@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7")
    )
    code, printed = judged("zizmor", "--offline", "--no-progress", broken)
    assert code > 0
    assert "unpinned-uses" in printed


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_files_of_github_have_its_schemas(schema: str) -> None:
    assert SCHEMAS[schema]
    code, printed = judged("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *SCHEMAS[schema])
    assert code == 0, printed


def test_pre_commit_runs_the_hook_when_data_changes(tmp_path: Path) -> None:
    repository, programs = tmp_path / "repository", tmp_path / "bin"
    (repository / "data").mkdir(parents=True)
    programs.mkdir()
    (programs / "finetune").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m finetuning_cli "$@"\n')
    (programs / "finetune").chmod(0o755)
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    mine = {**hook, "language": "system", "args": ["data"], "files": "^data/"}
    config = {"repos": [{"repo": "local", "hooks": [mine]}]}
    (repository / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))

    def commit(file: Path) -> tuple[int, str]:
        for words in (["init", "-q"], ["add", file]):
            subprocess.run(["git", *words], cwd=repository, check=True)
        paths = os.pathsep.join(str(ROOT / source) for source in ("lambda", "infra", "cli"))
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        return judged(
            "pre-commit", "run", folder=repository, PATH=path, PYTHONPATH=paths, PRE_COMMIT_HOME=str(tmp_path)
        )

    (repository / "notes.md").touch()
    assert "Skipped" in commit(repository / "notes.md")[1]
    code, printed = commit(any_file(repository / "data", [*any_chat_rows(2), b"garbage"], "faq.jsonl"))
    assert (code, "faq.jsonl line 3" in " ".join(printed.split())) == (1, True)
    assert commit(any_file(repository / "data", any_chat_rows(9), "faq.jsonl"))[0] == 0
