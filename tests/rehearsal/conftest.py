"""One emulated AWS a session, with the state machine's waits shortened, and one of the tiny model as Llama's stand-in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal import running
from rehearsal.running import Emulator


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    if not (running.EMULATOR_PYTHON.exists() and running.TRAINER_PYTHON.exists()):
        pytest.skip("the rehearsal's environments are not there: run `make setup`")
    return running.base_model("tiny")


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Emulator]:
    running_one = running.start(tmp_path_factory.mktemp("emulator"), tiny_model, wait_scale=0.05)
    yield running_one
    running_one.stop()


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "emulator" in request.fixturenames:
        request.getfixturevalue("emulator").clear_faults()
