"""Room for one more imported model, by the account's quota and what stands there."""

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from finetuning.aws.import_quota import check_import_quota
from finetuning.aws.service_quotas import Quotas
from finetuning.errors import Finding
from finetuning.runs.names import Names
from tests.builders.aws import FakeService

REGION = "us-west-2"
NAMES = Names("finetune-dev", "faq-0123abcd", "support")
QUOTA = {"QuotaCode": "L-45B04988", "QuotaName": "Imported models per account", "Value": 3.0}


def arn(name: str) -> str:
    return f"arn:aws:bedrock:{REGION}:111122223333:imported-model/{name}"


class Account:
    """An account with imported models, each with the endpoint name it was imported for, and running imports. `owner`:
    the stage that imported them.
    """

    def __init__(
        self,
        models: dict[str, str] | None = None,
        importing: tuple[str, ...] = (),
        owner: str = "finetune-dev",
        **quota: Any,
    ) -> None:
        self.bedrock, self.service_quotas = FakeService(), FakeService()
        self.service_quotas.answers["list_service_quotas"] = {"Quotas": [QUOTA | quota]}
        models = models or {}
        self.bedrock.answers |= {
            "list_imported_models": {"modelSummaries": [{"modelName": m, "modelArn": arn(m)} for m in models]},
            "list_model_import_jobs": {"modelImportJobSummaries": [{"importedModelName": each} for each in importing]},
            "list_tags_for_resource": lambda **asked: {
                "tags": [
                    {"key": "finetune:endpoint", "value": models[asked["resourceARN"].rpartition("/")[2]]},
                    {"key": "finetune:created-by", "value": owner},
                ]
            },
        }

    def verdict(self) -> Finding | str | None:
        return check_import_quota(Quotas(self.service_quotas, None, REGION), self.bedrock, NAMES)


def test_a_quota_with_room_for_one_more_suffices_and_no_tag_is_read() -> None:
    account = Account({"a": "", "b": ""})
    assert account.verdict() is None
    assert account.service_quotas.requests("list_service_quotas") == [{"ServiceCode": "bedrock"}]
    assert account.bedrock.requests("list_model_import_jobs") == [{"statusEquals": "InProgress"}]
    assert account.bedrock.requests("list_tags_for_resource") == []


def test_a_full_quota_is_refused_with_its_code_what_uses_it_and_a_link() -> None:
    assert Account({"c": "x", "a": "y", "b": "z"}).verdict() == Finding(
        "QUOTA_EXCEEDED",
        "endpoint.target",
        "Quota exceeded: “Imported models per account” (L-45B04988) is 3, 3 in use (a, b, c), 1 needed.",
        "Delete an imported model that is not needed (`finetune endpoints` lists those of the stage), request an "
        "increase: https://us-west-2.console.aws.amazon.com/servicequotas/home/services/bedrock/quotas/L-45B04988, or "
        "set endpoint.target to sagemaker.",
    )


def test_a_model_that_is_being_imported_counts_and_is_not_counted_twice() -> None:
    assert isinstance(Account({"a": "x", "b": "y"}, importing=("c",)).verdict(), Finding)
    assert Account({"a": "", "b": ""}, importing=("b",)).verdict() is None


def test_the_runs_own_model_needs_no_more_room() -> None:
    assert Account({"a": "x", "b": "y", NAMES.imported_model: "z"}).verdict() is None


@pytest.mark.parametrize("endpoint", [NAMES.endpoint, "finetune-dev-other"])
def test_a_model_kept_for_a_rollback_of_any_name_of_the_stage_makes_room(endpoint: str) -> None:
    models = {"a": endpoint, "b": endpoint, "c": "finetune-dev-third"}
    assert Account(models).verdict() is None
    assert isinstance(Account(models, owner="finetune-prod").verdict(), Finding)


def test_the_models_that_serve_make_no_room() -> None:
    models = {"a": NAMES.endpoint, "b": "finetune-dev-other", "c": "finetune-dev-third"}
    assert isinstance(Account(models).verdict(), Finding)


def test_one_kept_model_makes_room_for_one_only() -> None:
    models = {"a": NAMES.endpoint, "b": NAMES.endpoint, "c": "x", "d": "y"}
    assert isinstance(Account(models).verdict(), Finding)


def test_an_unknown_quota_is_said_not_guessed() -> None:
    assert Account(QuotaName="Something else").verdict() == "Service Quotas has no “Imported models per account”"


def test_a_service_that_denies_or_cannot_be_reached_is_said() -> None:
    denied = Account()
    denied.bedrock.refuse("list_imported_models", "AccessDeniedException")
    assert str(denied.verdict()).startswith(
        "cannot read the quota of imported models, or the models: An error occurred"
    )
    silent = Account()
    silent.service_quotas.answers["list_service_quotas"] = EndpointConnectionError(endpoint_url="https://nowhere")
    assert "Could not connect" in str(silent.verdict())
