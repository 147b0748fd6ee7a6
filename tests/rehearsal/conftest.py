"""One emulated AWS a session, with the state machine's waits shortened and the tiny model as Llama's stand-in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal import cdk, jumpstart_cache, running
from rehearsal.running import Emulator
from tests.rehearsal.support import direct_deployment
from tests.rehearsal.support.product import Product


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What judges all the others' calls comes last."""
    items.sort(key=lambda item: item.path.name == "test_least_privilege.py")


@pytest.fixture(scope="session")
def whole_suite(request: pytest.FixtureRequest) -> None:
    """Skips where it is not asked for, and where tests of this folder were left out or failed before their calls."""
    if not os.environ.get("JUDGE_GRANTS"):
        pytest.skip("`make judge-grants` judges the grants")
    config, folder = request.config, Path(__file__).parent
    narrowed = config.option.keyword or config.option.markexpr or config.option.lf
    asked = {Path(argument).resolve() for argument in config.args}
    if narrowed or not asked & {folder, *folder.parents} or request.session.testsfailed:
        pytest.skip("judges the calls of the whole suite")


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    if not (running.EMULATOR_PYTHON.exists() and running.TRAINER_PYTHON.exists()):
        pytest.skip("the rehearsal's environments are not there: run `make setup`")
    return running.base_model("tiny")


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Emulator]:
    running_one = running.start(tmp_path_factory.mktemp("emulator"), tiny_model, wait_scale=0.4)
    yield running_one
    running_one.stop()


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "emulator" in request.fixturenames:
        request.getfixturevalue("emulator").clear_faults()


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stage `dev`, with a budget, synthesised once."""
    folder = tmp_path_factory.mktemp("synth") / "cdk.out"
    cdk.synthesise(folder, ["monthly_budget_usd=200"])
    return folder


@pytest.fixture(scope="session")
def product(emulator: Emulator, templates: Path) -> Product:
    jumpstart_cache.fill(emulator)
    outputs = direct_deployment.deploy(emulator, templates)
    return Product(emulator, outputs["UploadBucketName"], outputs["ArtifactsBucketName"], outputs["StateMachineArn"])
