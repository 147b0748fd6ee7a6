"""The layers as pip installs them, checked where a synthesis with bundling has installed them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import boto3
import botocore
import pyarrow
import pytest

from finetuning.jumpstart.families.llama3 import LLAMA_3
from finetuning_cdk.constructs import python_layer
from finetuning_cdk.constructs.python_layer import (
    LIBRARIES,
    PARQUET,
    SERVICES,
    TARGET,
    PipInstall,
    compile_modules,
    installed_layer,
    remove_unused,
)
from finetuning_cdk.vocabulary import VOCABULARY

LAMBDA = Path(__file__).resolve().parents[2] / "lambda"
MAX_UNPACKED_BYTES = 262_144_000
"""Lambda's limit on a function's code with all its layers."""
needs_layers = pytest.mark.skipif(
    not (installed_layer(LIBRARIES).is_dir() and installed_layer(PARQUET).is_dir()),
    reason="no synthesis has installed the layers yet",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the layer of LIBRARIES is kept."""
    monkeypatch.setattr(python_layer, "CACHE", tmp_path)
    (tmp_path / "output").mkdir()
    return installed_layer(LIBRARIES)


def test_an_installed_layer_is_linked_rather_than_installed_again(tmp_path: Path, cache: Path) -> None:
    (cache / "python" / "boto3").mkdir(parents=True)
    (cache / "python" / "boto3" / "session.py").write_text("")
    assert PipInstall(LIBRARIES).try_bundle(str(tmp_path / "output"))
    assert (tmp_path / "output" / "python" / "boto3" / "session.py").samefile(cache / "python" / "boto3" / "session.py")


def test_a_layer_is_installed_from_wheels_for_lambda_and_only_then_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache.with_suffix(".unfinished") / "python" / "half-installed").mkdir(parents=True)
    commands: list[tuple[str, ...]] = []

    def install(command: tuple[str, ...], *, check: bool) -> None:
        assert check
        assert not cache.exists()
        commands.append(command)
        if "--dest" in command:
            with ZipFile(Path(command[command.index("--dest") + 1]) / "llama_models.whl", "w") as wheel:
                wheel.writestr("llama_models/llama3/tokenizer.model", b"aGk= 0")
                wheel.writestr("llama_models/llama3/model.py", b"import torch")
            return
        (Path(command[command.index("--target") + 1]) / "bin").mkdir(parents=True)
        (Path(command[command.index("--target") + 1]) / "boto3").mkdir()

    monkeypatch.setattr(subprocess, "run", install)
    monkeypatch.setattr(python_layer, "_interpreter", lambda: None)
    assert PipInstall(LIBRARIES).try_bundle(str(tmp_path / "output"))
    install_libraries, download_vocabulary = map(set, commands)
    assert {"--only-binary", *TARGET, str(LIBRARIES)} <= install_libraries
    assert {"--no-deps", "--require-hashes", str(VOCABULARY)} <= download_vocabulary
    for layer in (tmp_path / "output", cache):
        assert sorted(path.name for path in (layer / "python").iterdir()) == ["boto3", "llama3_vocabulary"]
    vocabulary = cache / "python" / "llama3_vocabulary"
    assert sorted(path.name for path in vocabulary.iterdir()) == ["NOTICE", "tokenizer.model"]
    assert (vocabulary / "tokenizer.model").read_bytes() == b"aGk= 0"
    assert "Meta Llama 3 Community License" in (vocabulary / "NOTICE").read_text()


def test_two_syntheses_at_the_same_time_install_a_layer_without_disturbing_each_other(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins while the first is installing, and ends before it."""
    outputs = [tmp_path / "output", tmp_path / "second"]
    begun: list[Path] = []

    def install(*command: str) -> None:
        target = Path(command[command.index("--target") + 1])
        (target / "boto3").mkdir(parents=True)
        begun.append(target)
        if len(begun) == 1:
            PipInstall(PARQUET).try_bundle(str(outputs[1]))
        (target / "botocore").mkdir()

    monkeypatch.setattr(python_layer, "_run", install)
    monkeypatch.setattr(python_layer, "_interpreter", lambda: None)
    PipInstall(PARQUET).try_bundle(str(outputs[0]))
    assert len(begun) == 2
    for folder in (*outputs, installed_layer(PARQUET)):
        assert sorted(path.name for path in (folder / "python").iterdir()) == ["boto3", "botocore"]
    assert sorted(path.name for path in cache.parent.glob("layer-*")) == [installed_layer(PARQUET).name]


def test_the_layer_describes_the_services_of_which_functions_make_clients() -> None:
    """And X-Ray: the tracer makes a client of it."""
    source = "".join(path.read_text(encoding="utf-8") for path in LAMBDA.rglob("*.py"))
    called = set(re.findall(r'\b(?:advisory_)?client\(\s*"([a-z0-9-]+)"', source))
    assert called
    assert called | {"xray"} == set(SERVICES)


def test_a_client_of_every_service_can_be_made_from_what_is_kept(tmp_path: Path) -> None:
    for package in (boto3, botocore):
        shutil.copytree(Path(package.__file__).parent, tmp_path / package.__name__)
    remove_unused(tmp_path)
    program = f"""
import boto3
for service in {SERVICES}:
    boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
boto3.client("sagemaker", region_name="us-east-1").get_paginator("list_endpoints")
try:
    boto3.client("dynamodb", region_name="us-east-1")
except Exception as error:
    print(type(error).__name__, boto3.__file__)
"""
    told = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["UnknownServiceError", str(tmp_path / "boto3" / "__init__.py")]


def test_two_builds_compile_to_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_layer, "_interpreter", lambda: sys.executable)
    compiled = []
    for number, folder in enumerate((tmp_path / "one", tmp_path / "another")):
        folder.mkdir()
        (folder / "module.py").write_text("def name() -> str:\n    return __file__\n")
        (folder / "module.py").touch()
        os.utime(folder / "module.py", (number, number))
        assert compile_modules(folder)
        (made,) = folder.rglob("*.pyc")
        compiled.append(made.read_bytes())
    assert compiled[0] == compiled[1]
    assert b"/opt/python/module.py" in compiled[0]


@needs_layers
@pytest.mark.parametrize("requirements", [LIBRARIES, PARQUET], ids=lambda path: path.stem)
def test_a_layer_has_the_required_versions_built_for_lambda(requirements: Path) -> None:
    python = installed_layer(requirements) / "python"
    wanted = re.findall(r"^([\w.\[\]-]+)==([\w.]+)", requirements.read_text(), re.MULTILINE)
    assert wanted
    for name, version in wanted:
        assert list(python.glob(f"{name.split('[')[0].replace('-', '_')}-{version}.dist-info")), name
    binaries = [path.name for path in python.rglob("*.cpython-*.so")]
    assert binaries
    assert all("cpython-313-aarch64-linux-gnu" in name for name in binaries)
    assert all(".cpython-313." in path.name for path in python.rglob("*.pyc"))


@needs_layers
def test_the_layer_has_the_vocabulary_of_llama_3() -> None:
    assert LLAMA_3.vocabulary
    document = installed_layer(LIBRARIES) / "python" / LLAMA_3.vocabulary.package / "tokenizer.model"
    assert len(document.read_bytes().splitlines()) == 128_000


@needs_layers
def test_code_and_layers_are_below_lambdas_limit() -> None:
    folders = (LAMBDA / "finetuning", installed_layer(LIBRARIES), installed_layer(PARQUET))
    sizes = [sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert sum(sizes) < 0.9 * MAX_UNPACKED_BYTES, sizes


def test_pyarrow_is_the_release_that_is_tested() -> None:
    assert f"pyarrow=={pyarrow.__version__} " in PARQUET.read_text()
