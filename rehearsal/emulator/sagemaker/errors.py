"""SageMaker's refusals, with the codes and the words it uses: the product tells some of them apart by their words."""

from typing import Any


class Refused(Exception):
    """An error answer: code, message, HTTP status, and what else the body carries."""

    def __init__(self, code: str, message: str, status: int = 400, **details: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.details = code, message, status, details


def invalid(message: str) -> Refused:
    return Refused("ValidationException", message)


CAPACITY_REASONS = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different instance type.",
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using a "
    "different ML instance type or after some time.",
    "There is not enough capacity for instance type {instance_type}.",
    "Insufficient instance capacity in the requested Availability Zone.",
)
"""How a training job without an instance has been seen to fail, in public logs and forums."""

ENDPOINT_CAPACITY_REASON = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using a "
    "different ML instance type or after some time. Consider configuring InstancePools to specify multiple instance "
    "types."
)
PENDING_MESSAGE = "Insufficient capacity error from EC2 while launching instances, retrying!"
