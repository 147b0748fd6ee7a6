"""The names under which the product is observed in CloudWatch: its own metrics, and SageMaker's log groups.

Functions write them, and the dashboard, the saved queries and the permissions read them: each name stands here alone.
"""

from enum import StrEnum
from typing import Literal, Self

NAMESPACE = "FineTuning"
"""Of the product's own metrics. Powertools adds the dimension `service`, which is the stage's prefix."""

SERVICE, STEP, CODE = "service", "step", "code"
"""Dimensions. `step` is the handler's module; `code` an error's code, of RunFailed alone and in place of `step`."""

TRAINING_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
ENDPOINTS_LOG_GROUP = "/aws/sagemaker/Endpoints"
"""SageMaker names them so, and gives the metrics of the instances the same names as namespaces."""


class ProductMetric(StrEnum):
    """One metric: its name, its unit as CloudWatch writes it, and the handlers that measure it (none: all of them).

    CloudWatch has no unit of money: amounts in USD have the unit None.
    """

    unit: Literal["Count", "Milliseconds", "Seconds", "None"]
    handlers: tuple[str, ...]

    def __new__(
        cls, name: str, unit: Literal["Count", "Milliseconds", "Seconds", "None"] = "Count", *handlers: str
    ) -> Self:
        metric = str.__new__(cls, name)
        metric._value_, metric.unit, metric.handlers = name, unit, handlers
        return metric

    STEP_DURATION = "StepDuration", "Milliseconds"
    STEP_REFUSED = "StepRefused", "Count"
    STEP_FAILED = "StepFailed", "Count"
    DATASET_ROWS_KEPT = "DatasetRowsKept", "Count", "finish_dataset"
    DATASET_ROWS_DUPLICATE = "DatasetRowsDuplicate", "Count", "finish_dataset"
    DATASET_ROWS_REFUSED = "DatasetRowsRefused", "Count", "finish_dataset"
    TRAINING_ESTIMATED_USD = "TrainingEstimatedUsd", "None", "start_training"
    TRAINING_ACTUAL_USD = "TrainingActualUsd", "None", "describe_training"
    TRAINING_DURATION = "TrainingDuration", "Seconds", "describe_training"
    ENDPOINT_HOURS = "EndpointHours", "Count", "sweep_endpoints"
    ENDPOINT_USD = "EndpointUsd", "None", "sweep_endpoints"
    ENDPOINTS_IN_SERVICE = "EndpointsInService", "Count", "sweep_endpoints"
    IMPORTED_MODELS = "ImportedModels", "Count", "sweep_endpoints"
    ENDPOINTS_USD_PER_HOUR = "EndpointsUsdPerHour", "None", "sweep_endpoints"
    NEXT_EXPIRY_HOURS = "NextExpiryHours", "None", "sweep_endpoints"
    TRAINING_JOBS_RUNNING = "TrainingJobsRunning", "Count", "sweep_runs"
    RUN_SUCCEEDED = "RunSucceeded", "Count", "report_success"
    RUN_FAILED = "RunFailed", "Count", "report_failure", "clean_up_run"
