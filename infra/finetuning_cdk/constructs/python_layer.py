"""The layers with the functions' third-party libraries."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from finetuning_cdk.vocabulary import VOCABULARY, put_vocabulary

LAYERS = Path(__file__).resolve().parents[1] / "layers"
LIBRARIES = LAYERS / "requirements.txt"
PARQUET = LAYERS / "requirements-parquet.txt"
CACHE = Path.home() / ".cache" / "finetune-llama-on-aws"
"""Where layers are installed: once for every app and checkout of this user."""
TARGET = (
    *("--platform", "manylinux_2_28_aarch64", "--platform", "manylinux2014_aarch64"),
    *("--implementation", "cp", "--python-version", "3.13"),
)
"""Python 3.13 runs on Amazon Linux 2023, which has glibc 2.34; pip accepts a wheel for an older one only if its tag is
listed."""
SERVICES = (
    "application-autoscaling", "bedrock", "bedrock-runtime", "cloudwatch", "ec2", "iam", "kms", "lambda", "logs",
    "pricing", "s3", "sagemaker", "sagemaker-runtime", "service-quotas", "sns", "stepfunctions", "xray",
)  # fmt: skip
"""The services whose description the layer keeps: those of which a function makes a client, and the tracer's."""
PYTHON = "python3.13"
"""The interpreter that compiles a layer, where it is at hand: a function then starts without doing so."""
_VERSION = "2"
"""To be raised when what is done with the installed files changes: a layer is installed once for each."""


class PythonLayer(lambda_.LayerVersion):
    """A file of requirements, installed by pip as wheels for Lambda's platform, on any platform and without Docker. The
    layer of the libraries also has Llama 3's vocabulary.

    The asset's hash is that of the requirements, so the template is known before anything is installed.
    """

    def __init__(self, scope: Construct, id: str, *, requirements: Path) -> None:
        super().__init__(
            scope,
            id,
            description=f"Third-party libraries of {requirements.name}",
            compatible_architectures=[lambda_.Architecture.ARM_64],
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            code=lambda_.Code.from_asset(
                str(requirements.parent),
                asset_hash=_digest(requirements),
                asset_hash_type=AssetHashType.CUSTOM,
                bundling=BundlingOptions(
                    image=DockerImage.from_registry("unused: the local bundling always succeeds"),
                    local=PipInstall(requirements),
                ),
            ),
        )


def installed_layer(requirements: Path) -> Path:
    """The folder in which a layer is installed."""
    return CACHE / f"layer-{_digest(requirements)[:16]}"


def _digest(requirements: Path) -> str:
    pinned = requirements.read_bytes() + (VOCABULARY.read_bytes() if requirements == LIBRARIES else b"")
    return hashlib.sha256(pinned + " ".join((*TARGET, *SERVICES, _VERSION)).encode()).hexdigest()


@jsii.implements(ILocalBundling)
class PipInstall:
    """Installs once into a cache and links from there: a synthesis is more frequent than a change of requirements."""

    def __init__(self, requirements: Path) -> None:
        self._requirements = requirements

    def try_bundle(self, output_dir: str, options: Any = None, **_: Any) -> bool:
        cache = installed_layer(self._requirements)
        if not cache.is_dir():
            self._install(cache)
        shutil.copytree(cache, output_dir, dirs_exist_ok=True, copy_function=_link)
        return True

    def _install(self, cache: Path) -> None:
        """Elsewhere first, so that the cache holds complete layers only, also if two syntheses begin at once."""
        cache.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache.parent) as folder:
            layer = Path(folder) / "layer"
            _run(
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary", ":all:", *TARGET),
                *("--requirement", str(self._requirements), "--target", str(layer / "python")),
            )
            remove_unused(layer / "python")
            compile_modules(layer / "python")
            if self._requirements == LIBRARIES:
                put_vocabulary(layer / "python")
            try:
                layer.rename(cache)
            except OSError:
                if not cache.is_dir():  # otherwise another synthesis was faster
                    raise


def remove_unused(libraries: Path) -> None:
    """Removes programs, boto3's resources, and the descriptions of services that no function calls."""
    shutil.rmtree(libraries / "bin", ignore_errors=True)
    shutil.rmtree(libraries / "boto3" / "data", ignore_errors=True)
    for service in (libraries / "botocore" / "data").glob("*/"):
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)


def compile_modules(libraries: Path) -> bool:
    """Compiles every module as Lambda's Python would; False, with no effect, where that version cannot be found.

    The compiled files are valid without a look at the source, whose time Lambda does not keep, and name it by its path
    there: two builds are equal.
    """
    if not (python := _interpreter()):
        return False
    where = ("-s", str(libraries), "-p", "/opt/python")
    _run(python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", *where, str(libraries))
    return True


def _interpreter() -> str | None:
    """pyenv's own command of the name fails where another version is selected."""
    for candidate in (PYTHON, *map(str, Path.home().glob(".pyenv/versions/3.13.*/bin/python3.13"))):
        try:
            subprocess.run([candidate, "--version"], check=True, capture_output=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    return None


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603  # our own arguments


def _link(source: str, destination: str) -> None:
    """A copy takes as long as the installation of a layer of 150 MB; it is needed on another file system only."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)
