import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App

from finetuning.settings import Settings
from finetuning_cdk import FineTuning
from finetuning_cdk.config import PROFILES, ConfigurationError, StageConfig

DEPLOYED = {
    "upload_bucket": "uploads",
    "artifacts_bucket": "artifacts",
    "kms_key_arn": "arn:aws:kms:eu-west-1:123456789012:key/k",
    "execution_role_arn": "arn:aws:iam::123456789012:role/r",
    "import_role_arn": "arn:aws:iam::123456789012:role/i",
    "subnet_ids": ["subnet-1", "subnet-2"],
    "security_group_ids": ["sg-1"],
    "topic_arn": "arn:aws:sns:eu-west-1:123456789012:t",
}


ROOT = Path(__file__).resolve().parents[2]
WRONG_NAME = "stage: must be 2 to 8 lower-case letters and digits that begin with a letter, not "
OPERATING = ROOT / "docs" / "operating.md"


def as_written(value: Any) -> str:
    """A setting's value as written in a cell of docs/operating.md."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{str(value).lower()}`"


@pytest.mark.parametrize("stage", PROFILES)
def test_every_setting_is_documented_with_its_value(stage: str) -> None:
    column = list(PROFILES).index(stage)
    tables = OPERATING.read_text(encoding="utf-8").partition("settings: begin")[2].partition("settings: end")[0]
    rows = [(name, row.split(" | ")) for name, row in re.findall(r"^\| `(\w+)` \| (.*) \|$", tables, re.MULTILINE)]
    documented = {name: cells[column] if len(cells) == len(PROFILES) + 1 else cells[0] for name, cells in rows}
    settings = StageConfig.of(stage, {}).model_dump(exclude={"stage"})
    assert documented == {name: as_written(value) for name, value in settings.items()}


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.name)
def test_every_setting_named_in_the_documentation_exists(document: Path) -> None:
    named = re.findall(r"-c ([a-z_]+)=", document.read_text(encoding="utf-8"))
    assert [name for name in named if name not in {*StageConfig.model_fields, "profile"}] == []


@pytest.mark.parametrize("stage", PROFILES)
def test_the_name_of_a_profile_is_a_stage_of_it(stage: str) -> None:
    assert StageConfig.of(stage, {}).prefix == f"finetune-{stage}"
    assert StageConfig.of(stage, {}) == StageConfig.of(stage, {}, profile=stage)


def test_any_other_stage_has_the_settings_of_its_profile() -> None:
    alice, prod = StageConfig.of("alice", {}, profile="prod"), StageConfig.of("prod", {})
    assert alice.prefix == "finetune-alice"
    assert alice.model_dump(exclude={"stage"}) == prod.model_dump(exclude={"stage"})
    assert StageConfig.of("dev", {}, profile="prod").keep_data is True


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"stage": "alice"}, "profile: the stage alice needs one, dev or prod, such as -c profile=dev"),
        ({"stage": "alice", "profile": "tst"}, "profile: must be dev or prod, not 'tst'"),
        ({"stage": "dev", "profile": ""}, "profile: must be dev or prod, not ''"),
        ({"stage": "Alice", "profile": "dev"}, WRONG_NAME + "'Alice'"),
        ({"stage": "alice-bob", "profile": "dev"}, WRONG_NAME + "'alice-bob'"),
        ({"@aws-cdk/some:flag": True}, "stage: no stage is set; choose one with -c stage=dev"),
        ({"stage": "dev", "max_cost": 5}, "Stage dev: max_cost: unknown setting; did you mean max_cost_usd?"),
        ({"stage": "dev", "zzz": 5}, "Stage dev: zzz: unknown setting; docs/operating.md lists all"),
        ({"stage": "dev", "approval_hours": 100}, "Stage dev: approval_hours: must be less than or equal to 72"),
    ],
)
def test_a_stage_that_cannot_be_is_one_line_that_names_the_setting(context: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        FineTuning.from_context(App(context=context))
    assert str(error.value) == message


def test_the_app_reports_a_wrong_setting_without_a_traceback() -> None:
    roots = os.pathsep.join(str(ROOT / root) for root in ("lambda", "infra"))
    environment = {**os.environ, "PYTHONPATH": roots, "CDK_CONTEXT_JSON": '{"stage": "alice"}'}
    said = subprocess.run(
        [sys.executable, ROOT / "app.py"], env=environment, capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert said.stderr.splitlines()[-1] == "profile: the stage alice needs one, dev or prod, such as -c profile=dev"
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_runtime_hours", 101),
        ("max_cost_usd", "cheap"),
        ("endpoint_idle_minutes", 5),
        ("log_retention_days", 7),
        ("gated_weights", "both"),
        ("vpc_cidr", "10.0.0.0/8"),
        ("vpc_cidr", "10.0.0.0/24"),
        ("notification_email", "nobody"),
        ("data_readers", "DataScience"),
        ("judge_models", "amazon.nova-*"),
        ("judge_models", "amazon.nova-pro-v1:0,arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0"),
        ("availability_zones", "us-east-1a"),
        ("availability_zones", "us-east-1a,us-east-1a"),
        ("availability_zones", "us-east-1a,eu-west-1b"),
        ("availability_zones", "use1-az1,use1-az2"),
        ("max_runtime", 3),
    ],
)
def test_an_invalid_override_is_rejected_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=field):
        StageConfig.of("dev", {field: value})


def test_overrides_of_the_command_line_are_parsed() -> None:
    given = {"max_cost_usd": "50", "accept_eula": "true", "training_instance_types": "ml.g5.*,ml.p5.*"}
    config = StageConfig.of("dev", given)
    assert (config.max_cost_usd, config.accept_eula) == (50, True)
    assert config.training_instance_types == ("ml.g5.*", "ml.p5.*")


def test_the_environment_is_read_back_as_settings() -> None:
    config = StageConfig.of("dev", {"max_cost_usd": 12.5, "accept_eula": True})
    environment = config.function_environment(DEPLOYED)
    settings = Settings.from_environment({**environment, "AWS_REGION": "eu-west-1"})
    assert settings.subnet_ids == ("subnet-1", "subnet-2")
    assert (settings.prefix, settings.max_cost_usd, settings.accept_eula) == ("finetune-dev", 12.5, True)
    assert settings.endpoint_ttl_hours == config.endpoint_ttl_hours


def test_a_setting_without_a_value_is_omitted_from_the_environment() -> None:
    assert "MAX_COST_USD" not in StageConfig.of("dev", {}).function_environment(DEPLOYED)


def test_a_setting_missing_from_the_infrastructure_fails_by_name() -> None:
    forgetful = {name: value for name, value in DEPLOYED.items() if name != "topic_arn"}
    with pytest.raises(KeyError, match="topic_arn"):
        StageConfig.of("dev", {}).function_environment(forgetful)


def test_a_network_without_room_for_a_subnet_in_each_zone_is_refused_with_one_that_has() -> None:
    three = {"availability_zones": "us-east-1a,us-east-1b,us-east-1c"}
    with pytest.raises(ConfigurationError, match=r"room for 2 subnets .* 3 zones: use /22 or larger"):
        StageConfig.of("dev", {"vpc_cidr": "10.0.0.0/23", **three})
    assert StageConfig.of("dev", {"vpc_cidr": "10.0.0.0/22", **three})
    assert StageConfig.of("dev", {"vpc_cidr": "10.0.0.0/23"})


@pytest.mark.parametrize(
    ("options", "private"),
    [
        ({}, False),
        ({"bedrock_import": True}, True),
        ({"judge_models": "amazon.nova-pro-v1:0"}, True),
    ],
)
def test_bedrock_has_private_addresses_where_it_is_called(options: dict[str, Any], private: bool) -> None:
    services = StageConfig.of("prod", options).services.values()
    assert ({"bedrock", "bedrock-runtime"} <= {*services}) is private


def test_the_functions_know_which_models_may_judge() -> None:
    for given, known in (("", ()), ("a.b-v1:0,us.a.b-v1:0", ("a.b-v1:0", "us.a.b-v1:0"))):
        environment = StageConfig.of("dev", {"judge_models": given}).function_environment(DEPLOYED)
        assert Settings.from_environment({**environment, "AWS_REGION": "eu-west-1"}).judge_models == known
