"""The layer with the functions' third-party libraries."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "lambda" / "requirements.txt"
TARGET = (
    *("--platform", "manylinux_2_28_aarch64", "--platform", "manylinux2014_aarch64"),
    *("--implementation", "cp", "--python-version", "3.13"),
)
"""Python 3.13 runs on Amazon Linux 2023, which has glibc 2.34; pip accepts a wheel for an older one only if its tag is
listed."""


class PythonLayer(lambda_.LayerVersion):
    """lambda/requirements.txt, installed by pip as wheels for Lambda's platform, on any platform and without Docker.

    The asset's hash is that of the requirements, so the template is known before anything is installed.
    """

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(
            scope,
            id,
            description="Third-party libraries of lambda/requirements.txt",
            compatible_architectures=[lambda_.Architecture.ARM_64],
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            code=lambda_.Code.from_asset(
                str(REQUIREMENTS.parent),
                asset_hash=_digest(),
                asset_hash_type=AssetHashType.CUSTOM,
                bundling=BundlingOptions(
                    image=DockerImage.from_registry("unused: the local bundling always succeeds"),
                    local=_PipInstall(installed_layer()),
                ),
            ),
        )


def installed_layer() -> Path:
    """The folder in which the layer is installed."""
    return ROOT / "build" / f"layer-{_digest()[:16]}"


def _digest() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes() + " ".join(TARGET).encode()).hexdigest()


@jsii.implements(ILocalBundling)
class _PipInstall:
    """Installs once into a cache and copies from there: a synthesis is more frequent than a change of requirements."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def try_bundle(self, output_dir: str, options: Any = None, **_: Any) -> bool:
        if not self._cache.is_dir():
            unfinished = self._cache.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            subprocess.run(  # noqa: S603  # our own arguments
                [
                    *(
                        sys.executable,
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--no-compile",
                        "--only-binary",
                        ":all:",
                        *TARGET,
                    ),
                    *("--requirement", str(REQUIREMENTS), "--target", str(unfinished / "python")),
                ],
                check=True,
            )
            shutil.rmtree(unfinished / "python" / "bin", ignore_errors=True)
            unfinished.rename(self._cache)
        shutil.copytree(self._cache, output_dir, dirs_exist_ok=True)
        return True
