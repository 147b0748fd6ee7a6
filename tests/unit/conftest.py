"""Fixtures of the unit tests. AWS is moto or a fake in memory, with credentials that are not valid anywhere."""

from collections.abc import Iterator
from functools import cache

import hypothesis
import pytest
from botocore.loaders import JSONFileLoader
from moto import mock_aws

from finetuning.aws.clients import advisory_client, client
from finetuning.aws.judge import judge_client
from finetuning.handlers import step, sweep_endpoints
from finetuning.operations import preflight
from finetuning.settings import settings
from tests.builders.aws import FakeAws
from tests.builders.memory import MemoryStore, any_environment
from tests.builders.stage import DatedPrices, SilentQuotas, Stage

# How long an example takes depends on what else the machine does: speed is measured by the benchmarks.
hypothesis.settings.register_profile("default", deadline=None)


@pytest.fixture(scope="session", autouse=True)
def service_models_are_parsed_once() -> Iterator[None]:
    """moto replaces boto3's session for each test; with it botocore would parse the services' models again."""
    load_file = JSONFileLoader.load_file
    parsed = cache(lambda path: load_file(JSONFileLoader(), path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: parsed(path))
        yield


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty AWS account in us-east-1."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",  # pragma: allowlist secret
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client.cache_clear()
        settings.cache_clear()
        yield
    client.cache_clear()
    settings.cache_clear()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a deployed function."""
    for name, value in any_environment().items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def memory(environment: None, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """The stage's documents in memory: those that every handler works on."""
    store = MemoryStore()
    for module in (step, sweep_endpoints):
        monkeypatch.setattr(module, "run_store", lambda: store)
    return store


@pytest.fixture
def cloud(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAws]:
    """An account in memory, behind every client of the process; the stage's documents are in `memory`."""
    account = FakeAws()
    monkeypatch.setattr("boto3.client", lambda service, **_: account[service])
    for cached in (client, advisory_client, judge_client):
        cached.cache_clear()
    yield account
    for cached in (client, advisory_client, judge_client):
        cached.cache_clear()


@pytest.fixture
def stage(aws: None, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A deployed stage in moto's AWS."""
    advisory_client.cache_clear()
    made = Stage()
    environment = any_environment(KMS_KEY_ARN=made.key, EXECUTION_ROLE_ARN=made.role, TRAINING_INSTANCE_TYPES="ml.*")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(preflight, "price_list", lambda region: DatedPrices())
    monkeypatch.setattr(preflight, "Quotas", SilentQuotas)
    return made
