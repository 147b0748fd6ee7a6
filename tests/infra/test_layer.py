"""The layer as pip installs it, checked where a synthesis with bundling has installed it."""

import re
import subprocess
from pathlib import Path

import pytest

from infra.constructs.python_layer import REQUIREMENTS, TARGET, _PipInstall, installed_layer


def test_an_installed_layer_is_copied_rather_than_installed_again(tmp_path: Path) -> None:
    cache, output = tmp_path / "layer", tmp_path / "output"
    (cache / "python" / "boto3").mkdir(parents=True)
    output.mkdir()
    assert _PipInstall(cache).try_bundle(str(output))
    assert (output / "python" / "boto3").is_dir()


def test_a_layer_is_installed_from_wheels_for_lambda_and_only_then_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, output = tmp_path / "layer", tmp_path / "output"
    interrupted = tmp_path / "layer.unfinished" / "python" / "half-installed"
    interrupted.mkdir(parents=True)
    output.mkdir()
    commands: list[list[str]] = []

    def install(command: list[str], *, check: bool) -> None:
        assert check
        assert not cache.exists()
        commands.append(command)
        (Path(command[command.index("--target") + 1]) / "bin").mkdir(parents=True)
        (Path(command[command.index("--target") + 1]) / "boto3").mkdir()

    monkeypatch.setattr(subprocess, "run", install)
    assert _PipInstall(cache).try_bundle(str(output))
    (command,) = commands
    assert {"--only-binary", *TARGET, str(REQUIREMENTS)} <= set(command)
    assert [path.name for path in (output / "python").iterdir()] == ["boto3"]
    assert [path.name for path in (cache / "python").iterdir()] == ["boto3"]


@pytest.mark.skipif(not installed_layer().is_dir(), reason="no synthesis has installed the layer yet")
def test_the_layer_has_the_required_versions_built_for_lambda() -> None:
    python = installed_layer() / "python"
    wanted = re.findall(r"^([\w.\[\]-]+)==([\w.]+)", REQUIREMENTS.read_text(), re.MULTILINE)
    assert len(wanted) > 15
    for name, version in wanted:
        assert list(python.glob(f"{name.split('[')[0].replace('-', '_')}-{version}.dist-info")), name
    binaries = [path.name for path in python.rglob("*.cpython-*.so")]
    assert binaries
    assert all("cpython-313-aarch64-linux-gnu" in name for name in binaries)
    assert not list(python.rglob("*.pyc"))
