"""Every model × task × instance type: requests that boto3's service model takes, or the documented refusal."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetuning.errors import FineTuningError
from finetuning.jumpstart import requests as jumpstart_requests
from finetuning.jumpstart.catalogue import CATALOGUE
from finetuning.jumpstart.constraints import violations
from finetuning.jumpstart.family import Task
from finetuning.planning import orders
from finetuning.planning.checklist import Checklist
from tests.builders.jumpstart import BASE_70B, LLAMA, TARGET, any_spec, planned, sagemaker_model, service_model

INSTANCE_TYPES = sorted(
    {instance_type for model_id in CATALOGUE for instance_type in any_spec(model_id).supported_training_instance_types}
)


@pytest.mark.parametrize("instance_type", INSTANCE_TYPES)
@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("model_id", CATALOGUE)
def test_a_run_is_a_valid_request_or_a_documented_refusal(model_id: str, task: Task, instance_type: str) -> None:
    plan, findings = planned(
        {
            "model": model_id,
            "accept_eula": True,
            "task": task,
            "training": {"instance_type": instance_type, "max_runtime_hours": 24},
        }
    )
    expected = []
    if task in CATALOGUE[model_id].planned:
        expected.append(("TASK_UNSUPPORTED", "task"))
    if instance_type not in any_spec(model_id).supported_training_instance_types:
        expected.append(("INSTANCE_TYPE_UNSUPPORTED", "training.instance_type"))
    assert sorted((finding.code, finding.field) for finding in findings) == sorted(expected)
    if not expected:
        checklist, spec = Checklist(), any_spec(model_id)
        built = orders.run_requests(spec, plan, TARGET)
        built["create_model"] = orders.base_model(spec, plan, TARGET) if task is Task.CHAT else built["create_model"]
        orders.check_requests(built, service_model, checklist)
        assert checklist.findings == []
        resources = built["create_training_job"]["ResourceConfig"]
        assert resources.get("InstanceType", resources.get("InstancePreferences", [{}])[0]) in (
            instance_type,
            {"InstanceType": instance_type},
        )


@pytest.mark.parametrize("model_id", CATALOGUE)
def test_types_share_a_job_only_where_nothing_else_differs(model_id: str) -> None:
    spec = any_spec(model_id)
    types = list(spec.supported_training_instance_types)
    by_key: dict[str, list[object]] = {}
    for instance_type in types:
        alone = {"instance_type": instance_type, "fallback_instance_types": [], "max_runtime_hours": 24}
        plan, findings = planned({"model": model_id, "accept_eula": True, "task": "chat", "training": alone})
        assert not findings
        request = orders.training_job(spec, plan, TARGET)
        assert request["ResourceConfig"].pop("InstanceType") == instance_type
        by_key.setdefault(plan.training.options[0].request_key, []).append(request)
    for requests in by_key.values():
        assert all(request == requests[0] for request in requests)
    different = [requests[0] for requests in by_key.values()]
    assert all(one != other for i, one in enumerate(different) for other in different[:i])


def test_a_job_of_several_types_that_waits_for_them_is_valid() -> None:
    several = {"instance_type": "ml.g5.24xlarge", "fallback_instance_types": ["ml.g5.48xlarge", "ml.p3dn.24xlarge"]}
    plan, _ = planned({"accept_eula": True, "training": several})
    checklist = Checklist()
    spec = any_spec(plan.model_id)
    request = orders.training_job(spec, plan, TARGET, pending_seconds=7200)
    orders.check_requests({"create_training_job": request}, service_model, checklist)
    assert checklist.findings == []
    assert request["ResourceConfig"]["InstancePreferences"] == [
        {"InstanceType": "ml.g5.24xlarge"},
        {"InstanceType": "ml.g5.48xlarge"},
    ]
    assert "InstanceType" not in request["ResourceConfig"], "SageMaker refuses both"
    assert request["StoppingCondition"]["MaxPendingTimeInSeconds"] == 7200
    rest = orders.training_job(spec, plan, TARGET, attempt=1)
    assert rest["ResourceConfig"]["InstanceType"] == "ml.p3dn.24xlarge"


def test_a_training_plan_is_used_by_the_first_type_alone() -> None:
    arn = "arn:aws:sagemaker:us-east-1:111122223333:training-plan/finetune-dev-p4d"
    training = {"instance_type": "ml.p4d.24xlarge", "fallback_instance_types": ["ml.g5.48xlarge"]}
    asked = {"model": BASE_70B, "accept_eula": True, "training": training | {"training_plan_arn": arn}}
    (plan, findings), checklist = planned(asked), Checklist()
    assert not findings
    first, second = (orders.training_job(any_spec(BASE_70B), plan, TARGET, attempt) for attempt in (0, 1))
    orders.check_requests({"create_training_job": first}, service_model, checklist)
    assert checklist.findings == []
    assert first["ResourceConfig"]["TrainingPlanArn"] == arn
    assert first["ResourceConfig"]["InstanceType"] == "ml.p4d.24xlarge"
    assert "TrainingPlanArn" not in second["ResourceConfig"]


@pytest.mark.parametrize("model_id", CATALOGUE)
def test_every_endpoint_type_of_every_model_gets_a_valid_configuration(model_id: str) -> None:
    spec = any_spec(model_id)
    shape = sagemaker_model().operation_model("CreateEndpointConfig").input_shape
    for instance_type in spec.supported_inference_instance_types:
        hosting = jumpstart_requests.Hosting("a-model", "a-config", "an-endpoint", instance_type)
        assert list(violations(shape, jumpstart_requests.endpoint_config(spec, hosting, TARGET))) == []


def test_a_planned_task_is_refused_in_so_many_words() -> None:
    _, findings = planned({"model": LLAMA + "405b-fp8", "accept_eula": True, "task": "instruction"})
    assert "planned" in findings[0].message
    assert "not available yet" in findings[0].message
    assert "chat" in findings[0].fix


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
run_json_fields = (
    "model", "model_version", "accept_eula", "task", "template", "hyperparameters", "validation_fraction",
    "max_error_fraction", "training", "endpoint", "evaluation", "approval", "tags",
)  # fmt: skip
likely_parts = st.fixed_dictionaries(
    {"accept_eula": st.just(True)},
    optional={
        "model": st.sampled_from(sorted(CATALOGUE)) | st.text(max_size=40),
        "task": st.sampled_from(["auto", *Task]),
        "hyperparameters": st.dictionaries(
            st.sampled_from([p.name for p in any_spec().hyperparameters]) | st.text(max_size=12),
            st.integers() | st.floats(allow_nan=False) | st.text(max_size=12) | st.sampled_from(["True", "False"]),
            max_size=6,
        ),
        "template": st.fixed_dictionaries({"prompt": st.text(max_size=30), "completion": st.text(max_size=30)}),
        "training": st.fixed_dictionaries(
            {},
            optional={
                "instance_type": st.sampled_from(INSTANCE_TYPES),
                "fallback_instance_types": st.lists(st.sampled_from(INSTANCE_TYPES), max_size=3),
                "max_runtime_hours": st.floats(0.001, 100),
                "max_cost_usd": st.floats(0.001, 1e6),
            },
        ),
        "endpoint": st.fixed_dictionaries({}, optional={"name": st.text(max_size=60), "deploy": st.booleans()}),
        "tags": st.dictionaries(st.text(max_size=140), st.text(max_size=280), max_size=4),
    },
)
any_run_json = st.one_of(
    likely_parts,
    st.dictionaries(st.sampled_from(run_json_fields) | st.text(max_size=12), json_values, max_size=6),
    st.binary(max_size=40),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(run_json=any_run_json, size=st.integers(0, 10**13))
def test_whatever_a_run_json_holds_ends_in_findings_or_in_requests_sagemaker_takes(run_json: object, size: int) -> None:
    plan, findings = planned(run_json, size=size)  # type: ignore[arg-type]  # the point of the test
    spec = any_spec(plan.model_id)
    if findings:
        assert all(finding.code and finding.message and finding.fix for finding in findings)
        return
    try:
        built = orders.run_requests(spec, plan, TARGET)
    except FineTuningError as error:
        raise AssertionError(f"a plan without findings has no requests: {error}") from error
    checklist = Checklist()
    orders.check_requests(built, service_model, checklist)
    assert checklist.findings == []
