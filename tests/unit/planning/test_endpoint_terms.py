"""The endpoint of a plan: its price, its timeout and its scaling."""

from typing import Any

import pytest

from finetuning.jumpstart.assumptions import Price
from finetuning.planning.checklist import Checklist
from finetuning.planning.endpoint_terms import endpoint_plan
from finetuning.planning.submission import Submission
from finetuning.runs.plan import EndpointPlan
from finetuning.runs.run_json import RunRequest
from finetuning.runs.uploads import Upload
from tests.builders.jumpstart import any_spec, any_stage
from tests.builders.runs import START

SPEC = any_spec()
HOSTING = "ml.g6.48xlarge"
PRICES = {HOSTING: Price(3.0, "a list"), SPEC.default_inference_instance_type: Price(2.0, "a list")}


def planned_endpoint(spec: Any = SPEC, **endpoint: Any) -> tuple[EndpointPlan, Checklist]:
    checklist = Checklist()
    request = RunRequest.model_validate({"endpoint": endpoint})
    submission = Submission(Upload("uploads", "runs/faq/run.json", "1"), request, START)
    return endpoint_plan(submission, spec, any_stage(), PRICES, checklist), checklist


def test_an_endpoint_belongs_to_its_upload_and_those_that_run_json_names() -> None:
    assert planned_endpoint(owners=["team-b", "faq"])[0].owners == ["faq", "team-b"]


def test_an_endpoint_costs_the_price_of_its_type_for_each_instance() -> None:
    plan, checklist = planned_endpoint(instance_type=HOSTING, instance_count=3)
    assert (plan.usd_per_hour, plan.instance_count) == (3.0, 3)
    (line,) = checklist.checks
    assert (line.check, line.message) == ("endpoint instance", f"3 × {HOSTING}, 9.00 USD per hour (a list)")


def test_an_endpoint_of_unknown_price_says_so() -> None:
    plan, checklist = planned_endpoint(instance_type="ml.p5.48xlarge")
    assert plan.usd_per_hour is None
    assert checklist.checks[0].message == "1 × ml.p5.48xlarge, price unknown"


def test_a_type_that_cannot_host_the_model_is_a_finding_and_the_default_is_planned() -> None:
    plan, checklist = planned_endpoint(instance_type="ml.g4dn.xlarge")
    assert plan.instance_type == SPEC.default_inference_instance_type
    assert plan.usd_per_hour == PRICES[plan.instance_type].usd_per_hour
    assert [finding.field for finding in checklist.findings] == ["endpoint.instance_type"]


def test_no_endpoint_is_not_checked() -> None:
    assert planned_endpoint(deploy=False, instance_type="ml.g4dn.xlarge")[1].checks == []


@pytest.mark.parametrize(
    ("download", "start", "seconds"), [(100, 10, 1910), (None, 10, 5410), (100, None, 5500), (None, None, 9000)]
)
def test_an_endpoint_may_take_its_provisioning_its_download_and_its_start(
    download: int | None, start: int | None, seconds: int
) -> None:
    timeouts = {"model_data_download_timeout": download, "container_startup_health_check_timeout": start}
    spec = SPEC.model_copy(update={"deploy_kwargs": SPEC.deploy_kwargs.model_copy(update=timeouts)})
    assert planned_endpoint(spec)[0].timeout_seconds == seconds


@pytest.mark.parametrize(("count", "good"), [(2, True), (4, True), (1, False), (5, False)])
def test_the_first_instances_are_within_the_limits_of_scaling(count: int, good: bool) -> None:
    scaling = {"min_instances": 2, "max_instances": 4}
    _, checklist = planned_endpoint(instance_type=HOSTING, instance_count=count, autoscaling=scaling)
    assert (checklist.findings == []) is good


def test_the_stages_limits_hold_where_run_json_has_none() -> None:
    plan, _ = planned_endpoint()
    assert (plan.ttl_hours, plan.idle_minutes) == (8, 60)
    own, _ = planned_endpoint(ttl_hours=3, idle_minutes="never")
    assert (own.ttl_hours, own.idle_minutes) == (3, "never")
