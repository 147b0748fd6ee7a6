"""What runs on GitHub is pinned: actions by digest, tools at the versions of the lock files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.name: path for path in (ROOT / ".github" / "workflows").glob("*.yml")}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def loaded(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def uses(path: Path) -> Iterator[tuple[str, str]]:
    """Every action that a file uses, and the version in the comment beside it."""
    yield from re.findall(r"uses: ([^\s#]+)[ ]*#?[ ]*(.*)", path.read_text(encoding="utf-8"))


def locked() -> dict[str, set[str]]:
    """The versions of each package in the lock files."""
    found: dict[str, set[str]] = {}
    for lock in ROOT.glob("requirements*.txt"):
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize(
    "path", [*WORKFLOWS.values(), ROOT / "action.yml", ROOT / "docs" / "ci.md"], ids=lambda it: it.name
)
def test_every_action_is_pinned_to_a_digest_and_names_its_version(path: Path) -> None:
    loose = []
    for action, version in uses(path):
        own = action == "./" or action == "OWNER/finetune-llama-on-aws@COMMIT"
        if not own and not (
            re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) and re.fullmatch(r"v\d+\.\d+\.\d+", version)
        ):
            loose.append((action, version))
    assert loose == []


def test_an_action_has_one_digest_everywhere() -> None:
    digests: dict[str, set[str]] = {}
    for path in [*WORKFLOWS.values(), ROOT / "action.yml", ROOT / "docs" / "ci.md"]:
        for action, version in uses(path):
            name, _, digest = action.partition("@")
            digests.setdefault(name, set()).add(f"{digest} {version}")
    assert {name: found for name, found in digests.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_no_permissions_but_those_of_its_jobs(name: str) -> None:
    workflow = loaded(WORKFLOWS[name])
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    allowed = {"contents": {"read"}, "id-token": {"write"}, "attestations": {"write"}, "pages": {"write"}}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert all(level in allowed[scope] for scope, level in job["permissions"].items())


def test_only_jobs_that_run_no_code_of_the_build_may_publish() -> None:
    """A dependency of the build must not be able to sign or to publish."""
    for name in ("publish", "attest"):
        steps = loaded(WORKFLOWS["release.yml"])["jobs"][name]["steps"]
        assert [step for step in steps if "run" in step] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_make_target_of_a_workflow_exists(name: str) -> None:
    runs = [step.get("run", "") for job in loaded(WORKFLOWS[name])["jobs"].values() for step in job["steps"]]
    targets = re.findall(r"^make ([\w-]+)", "\n".join(runs), re.MULTILINE)
    assert [target for target in targets if not re.search(rf"^(?:.* )?{target}:", MAKEFILE, re.MULTILINE)] == []


def test_every_node_that_is_named_is_one_that_the_package_allows() -> None:
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    allowed = re.findall(r"\^(\d+)\.0\.0", package["engines"]["node"])
    named = {
        **{
            name: re.findall(r"node(?:-version)?: \"(\d+)\"", path.read_text("utf-8"))
            for name, path in WORKFLOWS.items()
        },
        "README.md": re.findall(r"Node\.js (\d+) or (\d+)", (ROOT / "README.md").read_text("utf-8"))[0],
        "devcontainer": re.findall(
            r'node:1": \{"version": "(\d+)"', (ROOT / ".devcontainer/devcontainer.json").read_text("utf-8")
        ),
        ".ci/run": re.findall(r"node@(\d+)", (ROOT / ".ci" / "run").read_text("utf-8")),
    }
    assert all(set(versions) <= set(allowed) for versions in named.values()), named
    assert set(named["check.yml"]) == set(named["README.md"]) == set(allowed)
    assert named["devcontainer"]
    assert named[".ci/run"]


def test_pre_commit_uses_the_locked_versions() -> None:
    hooks = loaded(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    versions = locked()
    wanted = dict(each.split("==") for hook in hooks for each in hook["additional_dependencies"])
    assert {name: {version} for name, version in wanted.items()} == {name: versions[name] for name in wanted}


def test_pre_commit_passes_over_the_files_that_the_makefile_passes_over() -> None:
    (hook,) = (each for each in loaded(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"] if "exclude" in each)
    (in_makefile,) = re.findall(r"^HASHES_AND_LOCKS := (.*)\$\$$", MAKEFILE, re.MULTILINE)
    assert hook["exclude"] == f"{in_makefile}$"


def test_dependabot_looks_at_every_folder_with_dependencies() -> None:
    updates = {each["package-ecosystem"]: each for each in loaded(ROOT / ".github" / "dependabot.yml")["updates"]}
    listed = {"npm": "package-lock.json", "pip": "requirements*.in"}
    for ecosystem, pattern in listed.items():
        paths = [path for path in ROOT.rglob(pattern) if not {"node_modules", "build"} & set(path.parts)]
        folders = {"/" + path.parent.relative_to(ROOT).as_posix().removeprefix(".") for path in paths}
        assert set(updates[ecosystem]["directories"]) == folders
