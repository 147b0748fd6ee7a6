"""Whether the account's quotas allow what a plan needs, given the instances in use."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.errors import Code, Finding

Use = Literal["training", "endpoint"]

QUOTA_NAMES: dict[Use, str] = {"training": "{} for training job usage", "endpoint": "{} for endpoint usage"}
"""The names of the quotas. Their codes come with the response."""

LAMBDA_CONCURRENCY = "concurrent executions"
"""The name of Lambda's quota, for all functions of the account in the region."""
NEW_ACCOUNT_CONCURRENCY = 10
"""What a new account has."""

MAX_LOOKED_AT = 100
"""Running jobs and endpoints that are described to count the instances in use, one request each."""


@dataclass(frozen=True)
class Quota:
    """A quota of the account in one region. `value` is a number of instances."""

    code: str
    name: str
    value: float


class Quotas:
    """The account's quotas; those of SageMaker are read once."""

    def __init__(self, service_quotas: Any, sagemaker: Any, region: str) -> None:
        self._service_quotas = service_quotas
        self._sagemaker = sagemaker
        self._region = region
        self._by_name: Mapping[str, Quota] | None = None

    def check(self, instance_type: str, use: Use, wanted: int, field: str) -> Finding | str | None:
        """None if the quota suffices, a finding if it does not, or a text that says why it could not be checked."""
        try:
            quota = self._quotas().get(QUOTA_NAMES[use].format(instance_type).lower())
            if quota is None:
                return f"Service Quotas has no quota of {instance_type} for {use}"
            used = self._in_use(use)[instance_type] if quota.value else 0
        except (BotoCoreError, ClientError) as error:
            return f"cannot read the quotas: {error}"
        if used + wanted <= quota.value:
            return None
        return Finding(
            Code.QUOTA_EXCEEDED,
            field,
            f"Quota exceeded: “{quota.name}” ({quota.code}) is {quota.value:g}, {used} in use, {wanted} needed.",
            f"Request an increase: {self._link(quota)}, or choose another instance type.",
        )

    def lambda_concurrency(self) -> int:
        """How many functions the account may run at a time; as many as a new account where it cannot be read."""
        try:
            quota = self._of("lambda").get(LAMBDA_CONCURRENCY)
        except (BotoCoreError, ClientError):
            quota = None
        return int(quota.value) if quota else NEW_ACCOUNT_CONCURRENCY

    def _quotas(self) -> Mapping[str, Quota]:
        if self._by_name is None:
            self._by_name = self._of("sagemaker")
        return self._by_name

    def _of(self, service: str) -> Mapping[str, Quota]:
        pages = self._service_quotas.get_paginator("list_service_quotas").paginate(ServiceCode=service)
        return {
            quota["QuotaName"].lower(): Quota(quota["QuotaCode"], quota["QuotaName"], quota["Value"])
            for page in pages
            for quota in page.get("Quotas", [])
        }

    def _in_use(self, use: Use) -> Counter[str]:
        return self._training_instances() if use == "training" else self._endpoint_instances()

    def _training_instances(self) -> Counter[str]:
        used: Counter[str] = Counter()
        running = self._sagemaker.list_training_jobs(StatusEquals="InProgress", MaxResults=MAX_LOOKED_AT)
        for job in running["TrainingJobSummaries"]:
            resources = self._sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])["ResourceConfig"]
            used[resources.get("InstanceType", "")] += resources.get("InstanceCount", 0)
        return used

    def _endpoint_instances(self) -> Counter[str]:
        used: Counter[str] = Counter()
        for endpoint in self._sagemaker.list_endpoints(MaxResults=MAX_LOOKED_AT)["Endpoints"]:
            config_name = self._sagemaker.describe_endpoint(EndpointName=endpoint["EndpointName"])["EndpointConfigName"]
            config = self._sagemaker.describe_endpoint_config(EndpointConfigName=config_name)
            for variant in config["ProductionVariants"]:
                used[variant.get("InstanceType", "")] += variant.get("InitialInstanceCount", 0)
        return used

    def _link(self, quota: Quota) -> str:
        region = self._region
        return f"https://{region}.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas/{quota.code}"
