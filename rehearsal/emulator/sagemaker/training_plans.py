"""The training plans that the account has bought for the stage dev: one of each kind that the preflight tells apart."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.sagemaker.errors import Refused, invalid

_HOURS_LEFT = {"finetune-dev-bought": 48.0, "finetune-dev-nearly-over": 0.1, "finetune-dev-over": -1.0}
INSTANCE_TYPE = "ml.p4d.24xlarge"


class TrainingPlans:
    """The plans, by name: one with two days left, one that is nearly over, and one that is over."""

    def __init__(self, context: EmulatorContext) -> None:
        self._world, self._began = context, datetime.now(UTC)

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        name = str(request["TrainingPlanName"]).rpartition("/")[2]
        if name not in _HOURS_LEFT:
            raise Refused("ResourceNotFound", f"Could not find training plan {name}.")
        start, end = self._began - timedelta(hours=24), self._began + timedelta(hours=_HOURS_LEFT[name])
        status = "Active" if end > datetime.now(UTC) else "Expired"
        times = {"StartTime": start, "EndTime": end, "Status": status}
        reserved = {
            "ReservedCapacityArn": self._world.arn("reserved-capacity", name),
            "InstanceType": INSTANCE_TYPE,
            "TotalInstanceCount": 1,
            **times,
        }
        return {
            "TrainingPlanArn": self._world.arn("training-plan", name),
            "TrainingPlanName": name,
            "TargetResources": ["training-job"],
            "ReservedCapacitySummaries": [reserved],
            **times,
        }

    def require_for(self, resources: dict[str, Any]) -> None:
        """Raises `Refused` unless the plan that a ResourceConfig names can be used by its instance type."""
        if arn := resources.get("TrainingPlanArn"):
            plan = self.describe({"TrainingPlanName": arn})
            if plan["Status"] != "Active" or resources.get("InstanceType") != INSTANCE_TYPE:
                raise invalid(f"The training plan {arn} cannot be used: it is {plan['Status']}, of {INSTANCE_TYPE}.")
