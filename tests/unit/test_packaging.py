"""pyproject.toml: its ranges have the locked versions; no installed module looks for a file of the checkout."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.package.synth_versions import versions

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = [Requirement(each) for each in [*PROJECT["dependencies"], *EXTRAS["parquet"], *EXTRAS["cdk"]]]
PACKAGES = [ROOT / "lambda" / "finetuning", ROOT / "infra" / "finetuning_cdk", ROOT / "cli" / "finetuning_cli"]
NEEDS_NO_LOCK = {"pip"}
"""Comes with Python."""


def locked() -> dict[str, Version]:
    pinned = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in pinned}


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda each: each.name)
def test_the_locked_version_is_in_the_range(requirement: Requirement) -> None:
    if requirement.name not in NEEDS_NO_LOCK:
        assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda each: each.name)
def test_a_range_ends_before_the_next_major_version(requirement: Requirement) -> None:
    operators = {each.operator for each in requirement.specifier}
    assert operators == ({">="} if requirement.name in NEEDS_NO_LOCK else {">=", "<"})


def test_the_documentation_names_the_releases_of_the_cdk_that_are_tried() -> None:
    section = (ROOT / "docs" / "reuse.md").read_text(encoding="utf-8").partition("## Versions")[2]
    assert re.findall(r"\b\d+\.\d+\.\d+\b", section) == versions()


def files_named_by_modules() -> Iterator[tuple[Path, Path]]:
    """Each module that names a folder relative to itself, and that folder."""
    for package in PACKAGES:
        for module in package.rglob("*.py"):
            for levels in re.findall(
                r"__file__\)(?:\.resolve\(\))?\.parents\[(\d)\]", module.read_text(encoding="utf-8")
            ):
                yield module, module.parents[int(levels)]


def test_no_installed_module_looks_outside_its_package() -> None:
    found = list(files_named_by_modules())
    assert found
    outside = [f"{module} {folder}" for module, folder in found if not any(folder.is_relative_to(p) for p in PACKAGES)]
    assert outside == []


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {module.parent for package in PACKAGES for module in package.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
