"""What the first runs will cost, and what they have cost so far. Both are upper bounds."""

from dataclasses import dataclass, field
from datetime import datetime

from cli.live.first_runs import FirstRuns
from finetuning.errors import Code, FineTuningError
from finetuning.runs.plan import RunPlan

DEPLOYMENT_HOURS = 1 / 3
"""From CreateEndpoint or UpdateEndpoint to InService: twice what an 8B model takes by AWS's notebooks."""
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
        hours = 6 * DEPLOYMENT_HOURS + second_training + CHECKING_HOURS
        return cls(
            training_usd=2 * training.usd,
            endpoint_usd=hours * endpoint.usd_per_hour,
            endpoint_hours=hours,
            endpoint_usd_per_hour=endpoint.usd_per_hour,
            instance_types=(plan.training.options[0].instance_type, endpoint.instance_type),
        )


@dataclass
class Meter:
    """Adds up what is seen at each look. An endpoint that is being updated has two fleets."""

    limit_usd: float
    endpoint_usd_per_hour: float
    endpoints_usd: float = 0.0
    training_usd: dict[str, float] = field(default_factory=dict)
    """By run id."""
    _looked_at: dict[str, datetime] = field(default_factory=dict)

    @property
    def usd(self) -> float:
        return self.endpoints_usd + sum(self.training_usd.values())

    def look(self, runs: FirstRuns, now: datetime) -> None:
        """Raises `FineTuningError` (BUDGET_SPENT) once more is spent than allowed."""
        for endpoint in list(runs.control.endpoints(runs.endpoint)):
            name, fleets = endpoint["EndpointName"], 2 if endpoint["EndpointStatus"] in CHANGING else 1
            hours = (now - self._looked_at.get(name, endpoint["CreationTime"])).total_seconds() / 3600
            self.endpoints_usd += max(hours, 0) * fleets * self.endpoint_usd_per_hour
            self._looked_at[name] = now
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
                self.training_usd[upload.run_id] = (now - rung.time).total_seconds() / 3600 * hourly
        if self.usd > self.limit_usd:
            raise FineTuningError(
                Code.BUDGET_SPENT,
                f"The first run has cost about {self.usd:.2f} USD; --budget is {self.limit_usd:.2f} USD.",
                "See in the evidence which step took long, and try again with a higher --budget.",
            )
