"""An endpoint's number of instances, by Application Auto Scaling."""

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.errors import error_code, translate_errors
from finetuning.jumpstart.target import VARIANT
from finetuning.runs.endpoint_plan import Autoscaling

SERVICE, DIMENSION = "sagemaker", "sagemaker:variant:DesiredInstanceCount"
METRIC = "SageMakerVariantInvocationsPerInstance"
"""Invocations per minute and instance, averaged."""


def _variant(endpoint: str) -> dict[str, str]:
    return {
        "ServiceNamespace": SERVICE,
        "ResourceId": f"endpoint/{endpoint}/variant/{VARIANT}",
        "ScalableDimension": DIMENSION,
    }


def scale(endpoint: str, policy: Autoscaling) -> None:
    """Lets the number of instances follow the traffic. The endpoint must be in service. May be repeated."""
    with translate_errors(f"set up the autoscaling of {endpoint}"):
        api = client("application-autoscaling")
        api.register_scalable_target(
            **_variant(endpoint), MinCapacity=policy.min_instances, MaxCapacity=policy.max_instances
        )
        api.put_scaling_policy(
            **_variant(endpoint),
            PolicyName=f"{endpoint}-invocations",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": float(policy.invocations_per_instance),
                "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC},
            },
        )


def end_scaling(endpoint: str) -> None:
    """Ends the scaling of the endpoint, if there is any; it keeps the instances it has."""
    with translate_errors(f"end the autoscaling of {endpoint}"):
        try:
            client("application-autoscaling").deregister_scalable_target(**_variant(endpoint))
        except ClientError as error:
            if error_code(error) != "ObjectNotFoundException":
                raise
