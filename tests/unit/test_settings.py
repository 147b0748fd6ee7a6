"""What a function is told by its deployment."""

import pytest

from finetuning.errors import FineTuningError
from finetuning.settings import Settings
from tests.builders.memory import any_environment


def test_settings_are_typed() -> None:
    settings = Settings.from_environment(any_environment(ACCEPT_EULA="true"))
    assert settings.subnet_ids == ("subnet-1", "subnet-2")
    assert settings.accept_eula is True
    assert settings.max_cost_usd is None


def test_nobody_has_accepted_the_licence_by_default() -> None:
    assert Settings.from_environment(any_environment()).accept_eula is False


def test_every_missing_or_malformed_variable_is_named() -> None:
    environment = any_environment(GATED_WEIGHTS="maybe", MAX_RUNTIME_HOURS="1000")
    del environment["TOPIC_ARN"]
    with pytest.raises(FineTuningError) as failure:
        Settings.from_environment(environment)
    for name in ("TOPIC_ARN", "GATED_WEIGHTS", "MAX_RUNTIME_HOURS"):
        assert name in failure.value.message
