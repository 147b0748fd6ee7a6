"""Where and how long a run's model is served, as plan.json says it."""

from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, Field

from finetuning.bedrock.prices import HOURS_A_MONTH, ImportPrice
from finetuning.lazy_model import LazyModel
from finetuning.runs.expiry import Lifetime
from finetuning.runs.names import hosting_suffix
from finetuning.settings import Limit


class PlanPart(LazyModel):
    """The base of what plan.json has. Unknown fields are ignored: a plan of a later version is read, too."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Autoscaling(PlanPart):
    """Limits on the number of instances; `invocations_per_instance` is the target per minute."""

    min_instances: int
    max_instances: int
    invocations_per_instance: int


class HostingOption(PlanPart):
    """An instance type of the endpoint and its price. `container_key`: types with the same one can serve the same
    model; plans of earlier versions have none.
    """

    instance_type: str
    usd_per_hour: float | None
    container_key: str = ""


def dearest(options: Sequence[HostingOption]) -> float | None:
    """The highest price; None if one is not known."""
    prices = [option.usd_per_hour for option in options]
    return None if None in prices else max(price for price in prices if price is not None)


class EndpointPlan(PlanPart):
    """`name` is run.json's, without the prefix. After `timeout_seconds` an endpoint that is not in service has failed.

    `data_capture_percentage` of the invocations are stored in the artifacts bucket. `fallbacks` are tried in order if
    AWS has no capacity for `instance_type`; `planned_instance_type` is the first one, if another is used now.
    `owners`: whose runs may replace its model, the upload's own name first; plans of earlier versions have none.

    `pools`: the types, `instance_type` first, of which SageMaker takes the first with capacity; none if it has no
    choice. `usd_per_hour` is the price of the dearest of them, and once the endpoint serves, of the dearest of
    `serving_types`.

    `target`: a model that is imported into `bedrock` has no instances; those here are of the temporary endpoints for a
    comparison with the base model. `import_price`: what an import costs, or would cost if it is possible;
    `expected_hours_per_day` and `target_reason`: what `auto` compared the prices at, and why it chose the target.
    """

    deploy: bool
    target: Literal["sagemaker", "bedrock"] = "sagemaker"
    target_reason: str = ""
    import_price: ImportPrice | None = None
    expected_hours_per_day: float | None = None
    name: str | None
    owners: list[str] = Field(default_factory=list)
    instance_type: str
    instance_count: int
    ttl_hours: Limit
    idle_minutes: Limit
    timeout_seconds: int
    usd_per_hour: float | None
    autoscaling: Autoscaling | None = None
    data_capture_percentage: int = 0
    fallbacks: list[HostingOption] = Field(default_factory=list)
    planned_instance_type: str = ""
    pools: list[HostingOption] = Field(default_factory=list)
    serving_types: list[str] = Field(default_factory=list)

    def on(self, option: HostingOption) -> "EndpointPlan":
        """The same endpoint on another instance type, without the fallbacks up to it."""
        left = [each for each in self.fallbacks if each.instance_type != option.instance_type]
        changes = option.model_dump(exclude={"container_key"})
        changes["planned_instance_type"] = self.planned_instance_type or self.instance_type
        return self.model_copy(update={**changes, "fallbacks": left, "pools": [], "serving_types": []})

    def serving(self, types: list[str]) -> "EndpointPlan":
        """The same endpoint once SageMaker has chosen these types of its pools."""
        chosen = [each for each in self.pools if each.instance_type in types]
        return self.model_copy(update={"serving_types": types, "usd_per_hour": dearest(chosen)}) if chosen else self

    @property
    def in_words(self) -> str:
        """The types that it serves or may serve on."""
        types = self.serving_types or [each.instance_type for each in self.pools] or [self.instance_type]
        return (" and " if self.serving_types else " or ").join(types)

    @property
    def hosted_on(self) -> str:
        """What tells the names of model and configuration from those on the planned instance type."""
        planned = self.planned_instance_type or self.instance_type
        return "" if planned == self.instance_type else hosting_suffix(self.instance_type)

    @property
    def is_imported(self) -> bool:
        """Whether the tuned model is imported into Bedrock."""
        return self.deploy and self.target == "bedrock"

    @property
    def most_instances(self) -> int:
        """The most that autoscaling may start, or the fixed number."""
        return self.autoscaling.max_instances if self.autoscaling else self.instance_count

    @property
    def usd_per_month(self) -> float | None:
        """Of an endpoint that always serves; None if its price is unknown."""
        return None if self.usd_per_hour is None else self.usd_per_hour * self.instance_count * HOURS_A_MONTH

    def with_units(self, units: int) -> "EndpointPlan":
        """The same with the custom model units that Bedrock says the imported model has."""
        price = self.import_price and self.import_price.model_copy(update={"units": units})
        return self.model_copy(update={"import_price": price})

    @property
    def break_even_hours_per_day(self) -> float | None:
        """Hours of use a day below which the imported model costs less than the endpoint, 0 to 24; None if one of the
        prices is unknown.
        """
        if self.usd_per_hour is None or self.import_price is None:
            return None
        return self.import_price.break_even(self.usd_per_hour * self.instance_count)

    @property
    def lifetime(self) -> Lifetime:
        return Lifetime(self.ttl_hours, self.idle_minutes)
