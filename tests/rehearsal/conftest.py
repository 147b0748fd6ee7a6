"""One emulated AWS a session, with the state machine's waits shortened and the tiny model as Llama's stand-in.

With pytest-xdist a session is a worker, and each has an emulator of its own.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finetuning.aws.clients import client
from finetuning_cli.stage.deployment import Deployment
from rehearsal import cdk, jumpstart_cache, running
from rehearsal.running import Emulator
from tests.rehearsal.support import direct_deployment
from tests.rehearsal.support.grants import RECORDS, Record
from tests.rehearsal.support.product import JUDGE, JUDGE_PROFILE, Product
from tests.rehearsal.support.sagemaker_account import end_everything
from tests.rehearsal.support.stacks import WAIT_SCALE

CONTEXT = [
    "monthly_budget_usd=200",
    "max_concurrent_runs=12",
    "bedrock_import=true",
    f"judge_models={JUDGE},{JUDGE_PROFILE}",
]
"""More runs at a time than a stage has by default: the fault matrix is as fast as its slowest runs side by side."""

Start = Callable[[], Emulator]


def pytest_configure(config: pytest.Config) -> None:
    """Removes the records of earlier sessions, unless they are to be judged. The workers of this one begin later."""
    judges = any(Path(argument).name == "judge_grants.py" for argument in config.args)
    if not judges and not hasattr(config, "workerinput"):
        shutil.rmtree(RECORDS, ignore_errors=True)


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    """What this session proves of the product's permissions."""
    made = Record()
    yield made
    if made.emulators:
        made.write(getattr(request.config, "workerinput", {}).get("workerid", "main"))


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    if not (running.EMULATOR_PYTHON.exists() and running.TRAINER_PYTHON.exists()):
        pytest.skip("the rehearsal's environments are not there: run `make setup`")
    return running.base_model("tiny")


@pytest.fixture(scope="session")
def start_emulator(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, record: Record
) -> Iterator[Callable[[], Emulator]]:
    """Starts an emulated AWS that is stopped, and its grants recorded, when the session ends."""

    def start() -> Emulator:
        emulator = running.start(tmp_path_factory.mktemp("emulator"), tiny_model, wait_scale=WAIT_SCALE)
        record.emulators.append(emulator)
        return emulator

    yield start
    for emulator in record.emulators:
        record.add(emulator.grants())
        record.add_calls(emulator.calls())
        emulator.stop()


@pytest.fixture(scope="session")
def emulator(start_emulator: Start) -> Emulator:
    return start_emulator()


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "emulator" in request.fixturenames:
        request.getfixturevalue("emulator").clear_faults()


@pytest.fixture(scope="module", autouse=True)
def _judged(request: pytest.FixtureRequest, record: Record) -> Iterator[None]:
    """After each file: no role of the product was refused a call, and nothing is left that runs."""
    before = record.refused()
    yield
    record.modules.append(Path(request.node.path).name)
    for emulator in record.emulators:
        emulator.clear_faults()
        end_everything(emulator)
    assert record.refused() == before


@pytest.fixture(scope="session")
def templates() -> Path:
    """The stage `dev`, synthesised once for all sessions."""
    return cdk.synthesised(CONTEXT)


@pytest.fixture(scope="session")
def product(emulator: Emulator, templates: Path) -> Product:
    jumpstart_cache.fill(emulator)
    outputs = direct_deployment.deploy(emulator, templates)
    return Product(emulator, outputs["UploadBucketName"], outputs["ArtifactsBucketName"], outputs["StateMachineArn"])


@pytest.fixture(scope="module")
def command(product: Product) -> Iterator[Deployment]:
    """The operator's command, on the emulated AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in product.emulator.environment().items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        client.cache_clear()
        yield Deployment.find("dev")
    client.cache_clear()
