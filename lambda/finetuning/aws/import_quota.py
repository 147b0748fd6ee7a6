"""Whether the account's quota leaves room for one more model in Bedrock."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.service_quotas import Quota, Quotas
from finetuning.bedrock.facts import import_facts
from finetuning.bedrock.models import FIELD, ON_SAGEMAKER
from finetuning.errors import Code, Finding
from finetuning.runs.names import Names
from finetuning.runs.tags import ENDPOINT_TAG, OWNER_TAG


def check_import_quota(quotas: Quotas, bedrock: Any, names: Names) -> Finding | str | None:
    """None if the quota suffices, a finding if it does not, or a text that says why that is not known.

    The new model stands beside those of the account, until it has passed its evaluation. A model that is being imported
    counts as if it was there. Of several models of the stage for one endpoint name one serves; the others are kept for
    a rollback, and the import deletes them if it needs their room. `bedrock`: boto3's client.
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
        kept = _kept_for_rollback(bedrock, others.values(), names.prefix)
    except (BotoCoreError, ClientError) as error:
        return f"cannot read the quota of imported models, or the models: {error}"
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


def _kept_for_rollback(bedrock: Any, arns: Iterable[str], prefix: str) -> int:
    """How many of the models do not serve, by their tags: all of the stage but one for each endpoint name."""
    for_name: Counter[str] = Counter()
    for arn in filter(None, arns):
        tags = {tag["key"]: tag["value"] for tag in bedrock.list_tags_for_resource(resourceARN=arn)["tags"]}
        if tags.get(OWNER_TAG) == prefix and ENDPOINT_TAG in tags:
            for_name[tags[ENDPOINT_TAG]] += 1
    return for_name.total() - len(for_name)


def _refusal(quotas: Quotas, quota: Quota, present: list[str]) -> Finding:
    return Finding(
        Code.QUOTA_EXCEEDED,
        FIELD,
        f"Quota exceeded: “{quota.name}” ({quota.code}) is {quota.value:g}, {len(present)} in use "
        f"({', '.join(present)}), 1 needed.",
        "Delete an imported model that is not needed (`finetune endpoints` lists those of the stage), request an "
        f"increase: {quotas.link(quota, 'bedrock')}, or {ON_SAGEMAKER}.",
    )
