"""Whether the account's quotas allow what a plan needs, given the instances in use."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.sagemaker import is_absent
from finetuning.errors import Code, Finding

Use = Literal["training", "endpoint"]

QUOTA_NAMES: dict[Use, str] = {"training": "{} for training job usage", "endpoint": "{} for endpoint usage"}
"""The names of the quotas. Their codes come with the response."""
HOLDERS: dict[Use, str] = {"training": "training jobs", "endpoint": "endpoints"}

LAMBDA_CONCURRENCY = "concurrent executions"
"""The name of Lambda's quota, for all functions of the account in the region."""
NEW_ACCOUNT_CONCURRENCY = 10
"""What a new account has."""

MAX_LOOKED_AT = 100
"""Running jobs and endpoints that are described to count the instances in use, one request each."""


@dataclass(frozen=True)
class Quota:
    """A quota of the account in one region. `value` is a number of instances, of functions or of models."""

    code: str
    name: str
    value: float


@dataclass(frozen=True)
class _Holder:
    """A training job or an endpoint, and the instances it holds by type; None if those are not known."""

    name: str
    instances: Counter[str] | None
    failed: bool = False


class Quotas:
    """The account's quotas. Those of SageMaker, and the instances in use, are read once."""

    def __init__(self, service_quotas: Any, sagemaker: Any, region: str) -> None:
        self._service_quotas = service_quotas
        self._sagemaker = sagemaker
        self._region = region
        self._by_name: Mapping[str, Quota] | BotoCoreError | ClientError | None = None
        self._holders: dict[Use, list[_Holder]] = {}
        self._not_counted: set[Use] = set()

    def check(
        self, instance_type: str, use: Use, wanted: int, field: str, *, then: int = 0, replaced: str = ""
    ) -> Finding | str | None:
        """None if the quota suffices, a finding if it does not, or a text that says why that is not known.

        `wanted`: instances beside all that are in use; `then`: those needed once the endpoint `replaced` is gone.
        """
        try:
            quota = self._quotas().get(QUOTA_NAMES[use].format(instance_type).lower())
            if quota is None:
                return f"Service Quotas has no quota of {instance_type} for {use}"
            holders = self._in_use(use) if quota.value else []
        except (BotoCoreError, ClientError) as error:
            return f"cannot read the quotas: {error}"
        failed, used = Counter[str](), Counter[str]()
        for holder in holders:
            (failed if holder.failed else used)[holder.name] += (holder.instances or Counter())[instance_type]
        in_use, needed = max((used.total(), wanted), (used.total() - used[replaced], then), key=sum)
        if in_use + needed > quota.value:
            return Finding(
                Code.QUOTA_EXCEEDED,
                field,
                f"Quota exceeded: “{quota.name}” ({quota.code}) is {quota.value:g}, {in_use} in use, {needed} needed.",
                f"Request an increase: {self.link(quota, 'sagemaker')}, or choose another instance type.",
            )
        if in_use + needed + failed.total() > quota.value:
            # Whether they count is not documented.
            names = ", ".join(sorted(name for name, count in failed.items() if count))
            return f"sufficient only if endpoints that failed do not count; delete them: {names}"
        unknown = [holder.name for holder in holders if holder.instances is None]
        if in_use + needed + len(unknown) > quota.value:
            return f"sufficient unless the endpoint {unknown[0]}, whose configuration is gone, uses this type"
        if use in self._not_counted:
            return f"sufficient beside the newest {MAX_LOOKED_AT} {HOLDERS[use]}; the others were not counted"
        return None

    def lambda_concurrency(self) -> int:
        """How many functions the account may run at a time; as many as a new account where it cannot be read."""
        try:
            quota = self.of_service("lambda").get(LAMBDA_CONCURRENCY)
        except (BotoCoreError, ClientError):
            quota = None
        return int(quota.value) if quota else NEW_ACCOUNT_CONCURRENCY

    def _quotas(self) -> Mapping[str, Quota]:
        """Those of SageMaker. A service that does not answer is not asked again."""
        if self._by_name is None:
            try:
                self._by_name = self.of_service("sagemaker")
            except (BotoCoreError, ClientError) as error:
                self._by_name = error
        if isinstance(self._by_name, Exception):
            raise self._by_name
        return self._by_name

    def of_service(self, service: str) -> Mapping[str, Quota]:
        """The service's quotas by their names in lower case. Raises botocore's errors."""
        pages = self._service_quotas.get_paginator("list_service_quotas").paginate(ServiceCode=service)
        return {
            quota["QuotaName"].lower(): Quota(quota["QuotaCode"], quota["QuotaName"], quota["Value"])
            for page in pages
            for quota in page.get("Quotas", [])
        }

    def _in_use(self, use: Use) -> list[_Holder]:
        if use not in self._holders:
            self._holders[use] = list(self._training_jobs() if use == "training" else self._endpoints())
        return self._holders[use]

    def _training_jobs(self) -> Iterator[_Holder]:
        """Jobs on Spot instances are left out: they have a quota of their own."""
        running = self._sagemaker.list_training_jobs(StatusEquals="InProgress", MaxResults=MAX_LOOKED_AT)
        self._note_others("training", running)
        for job in running["TrainingJobSummaries"]:
            name = job["TrainingJobName"]
            described = self._sagemaker.describe_training_job(TrainingJobName=name)
            if not described.get("EnableManagedSpotTraining"):
                yield _Holder(name, _training_instances(described.get("ResourceConfig", {})))

    def _endpoints(self) -> Iterator[_Holder]:
        listed = self._sagemaker.list_endpoints(MaxResults=MAX_LOOKED_AT)
        self._note_others("endpoint", listed)
        for summary in listed["Endpoints"]:
            name = summary["EndpointName"]
            endpoint = self._found("endpoint", EndpointName=name)
            if endpoint is None:
                continue
            named = endpoint.get("EndpointConfigName")
            config = self._found("endpoint_config", EndpointConfigName=named) if named else None
            instances = None if config is None else _instances(endpoint, config)
            yield _Holder(name, instances, failed=endpoint["EndpointStatus"] == "Failed")

    def _note_others(self, use: Use, listed: Mapping[str, Any]) -> None:
        if "NextToken" in listed:
            self._not_counted.add(use)

    def _found(self, kind: str, **name: str) -> dict[str, Any] | None:
        try:
            described: dict[str, Any] = getattr(self._sagemaker, f"describe_{kind}")(**name)
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        return described

    def link(self, quota: Quota, service: str) -> str:
        """Of the console's page on which an increase is requested."""
        region = self._region
        return f"https://{region}.console.aws.amazon.com/servicequotas/home/services/{service}/quotas/{quota.code}"


def _training_instances(resources: Mapping[str, Any]) -> Counter[str]:
    """A job's instances by type, from its ResourceConfig, which a serverless job has none of. One that may take one of
    several types is assumed to count for each until SageMaker has selected one; a heterogeneous cluster has several.
    """
    count = resources.get("SelectedInstanceCount") or resources.get("InstanceCount", 1)
    if selected := resources.get("SelectedInstanceType") or resources.get("InstanceType"):
        return Counter({selected: count})
    counted: Counter[str] = Counter()
    for each in (*resources.get("InstancePreferences", []), *resources.get("InstanceGroups", [])):
        counted[each["InstanceType"]] += each.get("InstanceCount", count)
    return counted


def _instances(endpoint: Mapping[str, Any], config: Mapping[str, Any]) -> Counter[str]:
    """An endpoint's instances by type. Until it serves, one with pools is assumed to count for each of them."""
    fleets = {fleet["VariantName"]: fleet for fleet in _variants(endpoint)}
    counted: Counter[str] = Counter()
    for variant in _variants(config):
        fleet = fleets.get(variant.get("VariantName"), {})
        numbers = (fleet.get("CurrentInstanceCount", 0), fleet.get("DesiredInstanceCount", 0))
        count = max(numbers) or variant.get("InitialInstanceCount", 0)
        if served := [pool for pool in fleet.get("InstancePools", []) if pool.get("CurrentInstanceCount")]:
            counted.update({pool["InstanceType"]: pool["CurrentInstanceCount"] for pool in served})
            continue
        for each in variant.get("InstancePools", [variant]):
            counted[each.get("InstanceType", "")] += count
    return counted


def _variants(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of an endpoint or its configuration: those that answer, and shadow variants, which are tested beside them."""
    return [*described.get("ProductionVariants", []), *described.get("ShadowProductionVariants", [])]
