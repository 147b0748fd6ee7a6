"""The layer as pip installs it, checked where a synthesis with bundling has installed it."""

import re
from pathlib import Path

import pytest

from infra.constructs.python_layer import REQUIREMENTS, _PipInstall, installed_layer


def test_an_installed_layer_is_copied_rather_than_installed_again(tmp_path: Path) -> None:
    cache, output = tmp_path / "layer", tmp_path / "output"
    (cache / "python" / "boto3").mkdir(parents=True)
    output.mkdir()
    assert _PipInstall(cache).try_bundle(str(output))
    assert (output / "python" / "boto3").is_dir()


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
