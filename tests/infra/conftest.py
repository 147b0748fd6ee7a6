"""Each stage synthesised once a session: a process starts the CDK's engine once, so that later ones are cheap."""

import pytest

from tests.infra.synthesis import EVERY_OPTION, PROMOTE_FROM, RECEIVER, Synthesised, synthesise


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return synthesise("dev", tmp_path_factory.mktemp("dev"))


@pytest.fixture(scope="session")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return synthesise("prod", tmp_path_factory.mktemp("prod"))


@pytest.fixture(scope="session")
def importing(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """The stage prod that may import models into Bedrock, and lets two of its models judge."""
    options = {"bedrock_import": True, "judge_models": "amazon.nova-pro-v1:0,us.amazon.nova-lite-v1:0"}
    return synthesise("prod", tmp_path_factory.mktemp("importing"), **options)


@pytest.fixture(scope="session")
def releasing(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """The stage dev whose approved models prod may have, which is in another account."""
    return synthesise("dev", tmp_path_factory.mktemp("releasing"), promote_to=f"{RECEIVER}/prod")


@pytest.fixture(scope="session")
def promoting(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """The stage prod that promotes the models of dev, and trains none."""
    return synthesise("prod", tmp_path_factory.mktemp("promoting"), training=False, **PROMOTE_FROM)


@pytest.fixture(scope="session")
def with_options(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """The stage dev with every option."""
    return synthesise("dev", tmp_path_factory.mktemp("options"), **EVERY_OPTION)


@pytest.fixture(scope="session", params=["dev", "prod"])
def stage(request: pytest.FixtureRequest) -> Synthesised:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]  # the fixtures above
