"""An endpoint's autoscaling, as Application Auto Scaling is asked for it."""

import pytest

from finetuning.aws.autoscaling import end_scaling, scale
from finetuning.errors import FineTuningError
from finetuning.runs.endpoint_plan import Autoscaling
from tests.builders.aws import FakeAws

VARIANT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/finetune-dev-faq/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def test_the_policy_tracks_the_invocations_of_each_instance(cloud: FakeAws) -> None:
    scale("finetune-dev-faq", Autoscaling(min_instances=1, max_instances=4, invocations_per_instance=60))
    assert cloud["application-autoscaling"].calls == [
        ("register_scalable_target", {**VARIANT, "MinCapacity": 1, "MaxCapacity": 4}),
        (
            "put_scaling_policy",
            {
                **VARIANT,
                "PolicyName": "finetune-dev-faq-invocations",
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": 60.0,
                    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
                },
            },
        ),
    ]


def test_ending_it_where_there_is_none_is_no_error(cloud: FakeAws) -> None:
    cloud["application-autoscaling"].refuse("deregister_scalable_target", "ObjectNotFoundException")
    end_scaling("finetune-dev-faq")
    assert cloud["application-autoscaling"].calls == [("deregister_scalable_target", VARIANT)]


def test_a_refusal_is_an_error(cloud: FakeAws) -> None:
    cloud["application-autoscaling"].refuse("deregister_scalable_target", "AccessDeniedException")
    with pytest.raises(FineTuningError, match="autoscaling of finetune-dev-faq"):
        end_scaling("finetune-dev-faq")
