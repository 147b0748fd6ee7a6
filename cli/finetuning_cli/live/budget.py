"""What the first runs will cost, and what they have cost so far. Both are upper bounds."""

from dataclasses import dataclass, field
from datetime import datetime

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.assumptions import endpoint_start
from finetuning.jumpstart.catalogue import support
from finetuning.runs.plan import RunPlan
from finetuning_cli.live.first_runs import FirstRuns

DEPLOYMENT_RESERVE = 2
"""From CreateEndpoint or UpdateEndpoint to InService, at most so many times as long as a plan assumes."""
CHANGING = ("Updating", "RollingBack")
CHECKING_HOURS = 0.5
"""In which the endpoint waits for the checks, the approval and its removal."""


@dataclass(frozen=True)
class Estimate:
    """USD, with the times it is made of."""

    training_usd: float
    endpoint_usd: float
    endpoint_hours: float
    endpoint_usd_per_hour: float
    instance_types: tuple[str, str]

    @property
    def usd(self) -> float:
        return self.training_usd + self.endpoint_usd

    @classmethod
    def of(cls, plan: RunPlan) -> "Estimate":
        """Of two runs of this plan: two trainings, a temporary endpoint of the base model, and an endpoint that is
        created, updated and rolled back, with a second fleet beside the first one meanwhile.

        Raises `FineTuningError` (PRICE_UNKNOWN).
        """
        training, endpoint = plan.training.estimate, plan.endpoint
        if training.usd is None or training.seconds is None or endpoint.usd_per_hour is None:
            raise FineTuningError(
                Code.PRICE_UNKNOWN,
                f"No price or duration is known for {plan.model_id}, so the first run cannot keep to a budget.",
                "Choose another model with --model: `finetune models` shows prices.",
            )
        second_training = training.seconds / 3600
        deployment = DEPLOYMENT_RESERVE * endpoint_start(support(plan.model_id).parameters) / 3600
        hours = 6 * deployment + second_training + CHECKING_HOURS
        return cls(
            training_usd=2 * training.usd,
            endpoint_usd=hours * endpoint.usd_per_hour,
            endpoint_hours=hours,
            endpoint_usd_per_hour=endpoint.usd_per_hour,
            instance_types=(plan.training.options[0].instance_type, endpoint.instance_type),
        )


@dataclass
class Meter:
    """What is seen at each look. An endpoint that is being updated has two fleets."""

    limit_usd: float
    endpoint_usd_per_hour: float
    training_usd: dict[str, float] = field(default_factory=dict)
    """By run id."""
    _endpoint_hours: dict[tuple[str, datetime], float] = field(default_factory=dict)
    """By name and creation time, from then to the last look."""
    _second_fleet_hours: float = 0.0
    _looked_at: datetime | None = None

    @property
    def usd(self) -> float:
        hours = sum(self._endpoint_hours.values()) + self._second_fleet_hours
        return hours * self.endpoint_usd_per_hour + sum(self.training_usd.values())

    def look(self, runs: FirstRuns, now: datetime) -> None:
        """Raises `FineTuningError` (BUDGET_SPENT) once more is spent than allowed."""
        for endpoint in list(runs.control.endpoints(runs.endpoint)):
            created_at = endpoint["CreationTime"]
            self._endpoint_hours[endpoint["EndpointName"], created_at] = _hours(created_at, now)
            if endpoint["EndpointStatus"] in CHANGING:
                self._second_fleet_hours += _hours(self._looked_at or created_at, now)
        self._looked_at = now
        for upload in runs.uploads:
            run = runs.deployment.run(upload.run_id)
            status, plan = run.find_status(), run.find_plan()
            if status is None or plan is None or not status.ladder:
                continue
            rung, billed = status.ladder[-1], status.cost.actual_usd
            if billed is not None:
                self.training_usd[upload.run_id] = billed
            elif rung.outcome == "running":
                option = plan.training.option_on(rung.instance_type)
                hourly = option.estimate.usd_per_hour if option else None
                hourly = hourly or max(each.estimate.usd_per_hour or 0.0 for each in plan.training.options)
                self.training_usd[upload.run_id] = _hours(rung.time, now) * hourly
        if self.usd > self.limit_usd:
            raise FineTuningError(
                Code.BUDGET_SPENT,
                f"The first run has cost about {self.usd:.2f} USD; --budget is {self.limit_usd:.2f} USD.",
                "See in the evidence which step took long, and try again with a higher --budget.",
            )


def _hours(start: datetime, end: datetime) -> float:
    return max((end - start).total_seconds() / 3600, 0.0)
