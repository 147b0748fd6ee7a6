from pathlib import Path

import pytest

from tests.infra.synthesis import Synthesised, synthesise


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return synthesise("dev", Path(tmp_path_factory.mktemp("dev")))


@pytest.fixture(scope="session")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return synthesise("prod", Path(tmp_path_factory.mktemp("prod")))


@pytest.fixture(scope="session", params=["dev", "prod"])
def stage(request: pytest.FixtureRequest) -> Synthesised:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]  # the fixtures above
