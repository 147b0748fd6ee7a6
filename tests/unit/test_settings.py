"""The settings that a deployment and its functions share."""

import re
from pathlib import Path

import pytest

from finetuning.errors import FineTuningError
from finetuning.settings import Settings, StageSettings
from finetuning_cdk.config import StageConfig
from tests.builders.memory import any_environment

PACKAGE = Path(__file__).resolve().parents[2] / "lambda" / "finetuning"
PURE = ("bedrock", "jumpstart", "datasets", "runs", "planning", "evaluation", "report")


def test_settings_are_typed() -> None:
    settings = Settings.from_environment(any_environment(ACCEPT_EULA="true"))
    assert settings.subnet_ids == ("subnet-1", "subnet-2")
    assert settings.accept_eula is True
    assert settings.max_cost_usd is None


def test_the_licence_is_not_accepted_by_default() -> None:
    assert Settings.from_environment(any_environment()).accept_eula is False


def test_every_missing_or_malformed_variable_is_named() -> None:
    environment = any_environment(GATED_WEIGHTS="maybe", MAX_RUNTIME_HOURS="1000")
    del environment["TOPIC_ARN"]
    with pytest.raises(FineTuningError) as failure:
        Settings.from_environment(environment)
    for name in ("TOPIC_ARN", "GATED_WEIGHTS", "MAX_RUNTIME_HOURS"):
        assert name in failure.value.message


@pytest.mark.parametrize("side", [Settings, StageConfig])
def test_shared_settings_have_one_default_and_one_limit(side: type[StageSettings]) -> None:
    for name, field in StageSettings.model_fields.items():
        assert name not in side.__annotations__, f"{side.__name__} repeats {name}"
        assert repr(side.model_fields[name]) == repr(field)


def test_a_function_reads_at_most_256_mib_of_a_file_by_default() -> None:
    assert StageSettings.model_fields["shard_bytes"].default == 256 * 1024 * 1024


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_take_settings_as_arguments_and_never_read_the_environment(package: str) -> None:
    modules = list((PACKAGE / package).rglob("*.py"))
    assert modules
    for module in modules:
        source = module.read_text(encoding="utf-8")
        imported = re.findall(r"^from finetuning\.settings import (?:\(([^)]*)\)|(.*))$", source, re.MULTILINE)
        names = {name.strip() for found in imported for name in "".join(found).split(",")}
        assert "settings" not in names, module
        assert "os.environ" not in source, module
