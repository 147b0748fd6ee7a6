"""NOTICE names the libraries that a deployment puts into the layers, with the licences that their packages state."""

import re
from importlib.metadata import Distribution, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ROOT / "infra" / "finetuning_cdk" / "layers"
LICENCE = re.compile(r"^  ((?:Apache|BSD|ISC|MIT|MPL|PSF)[^:\n]*): (.*)$", re.MULTILINE)


def listed() -> dict[str, str]:
    """Each library in NOTICE, with its licences."""
    found = LICENCE.findall((ROOT / "NOTICE").read_text(encoding="utf-8"))
    return {name: licences for licences, names in found for name in names.split(", ")}


def shipped() -> set[str]:
    """Every package of the layers' lock files."""
    locks = "\n".join(path.read_text(encoding="utf-8") for path in LAYERS.glob("*.txt"))
    return set(re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==", locks, re.MULTILINE))


def stated(package: Distribution) -> str:
    """All that a package says about its licence."""
    fields = ("License-Expression", "License", "Classifier")
    return " ".join(value for field in fields for value in package.metadata.get_all(field) or [])


def test_every_library_of_the_layers_is_named() -> None:
    assert listed().keys() == shipped()


def test_the_licences_are_those_that_the_packages_state() -> None:
    wrong = {
        name: licences
        for name, licences in listed().items()
        for family in re.findall(r"Apache|BSD|CNRI|ISC|MIT|MPL|PSF", licences)
        if family not in stated(distribution(name))
    }
    assert wrong == {}


def test_every_library_brings_the_text_of_its_licence() -> None:
    without = [
        name
        for name in listed()
        if not any(re.match(r"licen[cs]e", file.name, re.IGNORECASE) for file in distribution(name).files or [])
    ]
    assert without == []
