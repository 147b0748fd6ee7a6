"""Whether the account's quota leaves room for one more model in Bedrock."""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.service_quotas import Quota, Quotas
from finetuning.bedrock.facts import import_facts
from finetuning.errors import Code, Finding
from finetuning.runs.names import Names
from finetuning.runs.tags import ENDPOINT_TAG

FIELD = "endpoint.target"


def check_import_quota(quotas: Quotas, bedrock: Any, names: Names) -> Finding | str | None:
    """None if the quota suffices, a finding if it does not, or a text that says why that is not known.

    The new model stands beside those of the account, until it has passed its evaluation. A model that is being imported
    counts as if it was there. Of several models for the same endpoint name one serves; the others are kept for a
    rollback and make room. `bedrock`: boto3's client.
    """
    named = import_facts().quota.value.name
    try:
        quota = quotas.of_service("bedrock").get(named.lower())
        if quota is None:
            return f"Service Quotas has no “{named}”"
        present = _present(bedrock)
        others = {name: arn for name, arn in present.items() if name != names.imported_model}
        if len(others) < quota.value:
            return None
        for_this_name = sum(_stands_for(bedrock, arn) == names.endpoint for arn in others.values())
    except (BotoCoreError, ClientError) as error:
        return f"cannot read the quota of imported models, or the models: {error}"
    kept = max(for_this_name - 1, 0)
    return None if len(others) - kept < quota.value else _refusal(quotas, quota, sorted(others))


def _present(bedrock: Any) -> dict[str, str]:
    """The models of the account by name, each with its ARN, "" while it is being imported."""
    found = {
        job["importedModelName"]: ""
        for page in bedrock.get_paginator("list_model_import_jobs").paginate(statusEquals="InProgress")
        for job in page["modelImportJobSummaries"]
        if "importedModelName" in job
    }
    for page in bedrock.get_paginator("list_imported_models").paginate():
        found |= {model["modelName"]: model["modelArn"] for model in page["modelSummaries"]}
    return found


def _stands_for(bedrock: Any, arn: str) -> str:
    """The endpoint name that a model was imported for, from its tags; "" if it has none, or is not there yet."""
    if not arn:
        return ""
    tags = bedrock.list_tags_for_resource(resourceARN=arn)["tags"]
    return next((str(tag["value"]) for tag in tags if tag["key"] == ENDPOINT_TAG), "")


def _refusal(quotas: Quotas, quota: Quota, present: list[str]) -> Finding:
    return Finding(
        Code.QUOTA_EXCEEDED,
        FIELD,
        f"Quota exceeded: “{quota.name}” ({quota.code}) is {quota.value:g}, {len(present)} in use "
        f"({', '.join(present)}), 1 needed.",
        "Delete an imported model that is not needed (`finetune endpoints` lists those of the stage), request an "
        f"increase: {quotas.link(quota, 'bedrock')}, or set endpoint.target to sagemaker.",
    )
