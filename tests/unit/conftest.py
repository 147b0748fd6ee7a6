"""Unit tests never leave the process: AWS is moto's, and its credentials are nobody's."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from finetuning.aws.clients import client
from finetuning.handlers import step
from finetuning.settings import settings
from tests.builders.memory import MemoryStore, any_environment


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
    monkeypatch.setattr(step, "run_store", lambda: store)
    return store
