"""What a function is told by its deployment."""

import pytest

from finetuning.errors import FineTuningError
from finetuning.settings import Settings


def any_environment(**changes: str) -> dict[str, str]:
    return {
        "STAGE": "dev",
        "PREFIX": "finetune-dev",
        "AWS_REGION": "us-east-1",
        "UPLOAD_BUCKET": "uploads",
        "ARTIFACTS_BUCKET": "artifacts",
        "KMS_KEY_ARN": "arn:aws:kms:us-east-1:123456789012:key/k",
        "EXECUTION_ROLE_ARN": "arn:aws:iam::123456789012:role/jobs",
        "SUBNET_IDS": "subnet-1,subnet-2",
        "SECURITY_GROUP_IDS": "sg-1",
        "TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:topic",
        "DEFAULT_MODEL": "meta-textgeneration-llama-3-1-8b-instruct",
        "MAX_RUNTIME_HOURS": "24",
        "ENDPOINT_TTL_HOURS": "8",
        "ENDPOINT_IDLE_MINUTES": "60",
        "TRAINING_INSTANCE_TYPES": "ml.g5.*,ml.p4d.*",
        "MAX_CONCURRENT_RUNS": "5",
        "APPROVAL_HOURS": "24",
        **changes,
    }


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
