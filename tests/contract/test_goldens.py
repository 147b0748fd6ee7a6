"""Our requests, whole, beside those the SageMaker SDK v2 sent for the same choices."""

import json
from typing import Any

from finetuning.jumpstart.family import Task
from finetuning.jumpstart.hyperparameters import merge
from finetuning.jumpstart.requests import (
    Hosting,
    Request,
    TrainingJob,
    endpoint,
    endpoint_config,
    training_job,
    tuned_model,
)
from tests.builders.jumpstart import TARGET, any_spec
from tests.shared import SHARED, needs_shared

pytestmark = needs_shared

P4D = "ml.p4d.24xlarge"

LEFT_OUT = {
    "CreateTrainingJob": {
        ("DebugHookConfig",): "the debugger costs money and needs a network",
        ("ProfilerConfig",): "the profiler costs money and needs a network",
        ("ResourceConfig", "VolumeKmsKeyId"): "SageMaker refuses a volume key where instances store on NVMe",
    },
    "CreateModel": {},
    "CreateEndpointConfig": {},
    "CreateEndpoint": {},
}
"""What the SDK sends and we do not, and why."""

ADDED: dict[str, dict[str, Any]] = {
    "CreateTrainingJob": {"RetryStrategy": {"MaximumRetryAttempts": 2}},  # SageMaker repeats its own internal errors
    "ProductionVariant": {"VariantInstanceProvisionTimeoutInSeconds": 1800},  # bounds the search for instances
}
"""What we send and the SDK does not. With `LEFT_OUT` these are all deliberate differences; a run's training job also
has `MaxPendingTimeInSeconds`, and `InstancePreferences` instead of InstanceType for several types.
"""


def golden(operation: str) -> Request:
    """The captured request with our deliberate differences; what is left out must be in it, what is added must not."""
    request: Request = json.loads((SHARED / "data" / "jumpstart" / f"{operation}.70b.json").read_text())
    for *parents, name in LEFT_OUT[operation]:
        part: dict[str, Any] = request
        for parent in parents:
            part = part[parent]
        del part[name]
    assert not request.keys() & ADDED.get(operation, {}).keys()
    return request | ADDED.get(operation, {})


def test_the_training_request_is_the_sdks() -> None:
    expected, spec = golden("CreateTrainingJob"), any_spec()
    hyperparameters, findings = merge(spec, P4D, Task.INSTRUCTION, {"epoch": 1, "max_input_length": 1024})
    assert not findings
    job = TrainingJob(
        name=expected["TrainingJobName"],
        instance_type=P4D,
        hyperparameters=hyperparameters,
        accept_eula=True,
        max_runtime_seconds=10**6,
        train="s3://my-bucket/train/",
        validation=None,
        output="s3://my-bucket/out",
    )
    assert training_job(spec, job, TARGET) == expected


def test_the_hosting_requests_are_the_sdks() -> None:
    model, config, live = golden("CreateModel"), golden("CreateEndpointConfig"), golden("CreateEndpoint")
    spec = any_spec()
    hosting = Hosting(
        model=model["ModelName"],
        config=config["EndpointConfigName"],
        endpoint=live["EndpointName"],
        instance_type=P4D,
    )
    artifact = model["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]["S3Uri"]
    assert tuned_model(spec, hosting, TARGET, artifact) == model
    config["ProductionVariants"][0] |= ADDED["ProductionVariant"]
    assert endpoint_config(spec, hosting, TARGET) == config
    assert endpoint(spec, hosting) == live
