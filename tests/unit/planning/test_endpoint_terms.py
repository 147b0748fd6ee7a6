"""The endpoint of a plan: its price, its timeout and its scaling."""

from typing import Any

import pytest

from finetuning.errors import Code
from finetuning.jumpstart.assumptions import Price
from finetuning.jumpstart.requests import container_key
from finetuning.planning import endpoint_terms
from finetuning.planning.checklist import Checklist
from finetuning.planning.endpoint_terms import endpoint_plan
from finetuning.planning.submission import Submission
from finetuning.runs.endpoint_plan import EndpointPlan, HostingOption
from finetuning.runs.run_json import RunRequest
from finetuning.runs.uploads import Upload
from finetuning.settings import DeployedStage
from tests.builders.jumpstart import any_spec, any_stage
from tests.builders.runs import START

SPEC = any_spec()
HOSTING = "ml.g6.48xlarge"
PRICES = {HOSTING: Price(3.0, "a list"), SPEC.default_inference_instance_type: Price(2.0, "a list")}


def planned_endpoint(
    spec: Any = SPEC, stage: DeployedStage | None = None, **endpoint: Any
) -> tuple[EndpointPlan, Checklist]:
    checklist = Checklist()
    request = RunRequest.model_validate({"endpoint": endpoint})
    submission = Submission(Upload("uploads", "runs/faq/run.json", "1"), request, START)
    return endpoint_plan(submission, spec, stage or any_stage(), PRICES, checklist), checklist


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


WITH_POOLS = any_stage(endpoint_instance_pools=True)
G5, G6, P4D, P5 = "ml.g5.48xlarge", HOSTING, "ml.p4d.24xlarge", "ml.p5.48xlarge"


def test_a_stage_with_pools_plans_the_price_of_the_dearest_type_in_the_list() -> None:
    plan, checklist = planned_endpoint(stage=WITH_POOLS, instance_type=P4D, fallback_instance_types=[G6])
    assert ([each.instance_type for each in plan.pools], plan.fallbacks) == ([P4D, G6], [])
    assert [each.container_key for each in plan.pools] == [container_key(SPEC, each, "us-east-1") for each in (P4D, G6)]
    assert plan.usd_per_hour == 3.0
    assert checklist.checks[0].message == f"1 × {P4D} or {G6}, at most 3.00 USD per hour (a list)"
    unpriced, _ = planned_endpoint(stage=WITH_POOLS, instance_type=P4D, fallback_instance_types=[P5])
    assert unpriced.usd_per_hour is None


def test_without_the_setting_each_type_is_tried_on_its_own_at_its_price_with_its_container() -> None:
    plan, _ = planned_endpoint(instance_type=P4D, fallback_instance_types=[G6, P5])
    container = container_key(SPEC, G6, "us-east-1")
    assert plan.pools == []
    assert plan.fallbacks == [
        HostingOption(instance_type=G6, usd_per_hour=3.0, container_key=container),
        HostingOption(instance_type=P5, usd_per_hour=None, container_key=container_key(SPEC, P5, "us-east-1")),
    ]


def test_one_type_and_a_scaled_endpoint_have_no_pools() -> None:
    scaling = {"min_instances": 1, "max_instances": 4}
    scaled, _ = planned_endpoint(stage=WITH_POOLS, instance_type=P4D, fallback_instance_types=[G6], autoscaling=scaling)
    assert (scaled.pools, len(scaled.fallbacks)) == ([], 1)
    assert planned_endpoint(stage=WITH_POOLS, instance_type=P4D)[0].pools == []


def test_types_whose_volumes_differ_in_taking_a_key_are_not_in_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_terms, "has_only_local_storage", lambda instance_type: instance_type != P5)
    types = [G5, P5, G6]
    plan, _ = planned_endpoint(stage=WITH_POOLS, instance_type=P4D, fallback_instance_types=types)
    assert [each.instance_type for each in plan.pools] == [P4D, G5]
    assert [each.instance_type for each in plan.fallbacks] == [P5, G6]


def test_a_fallback_beyond_the_pools_and_a_chosen_type_have_their_own_price() -> None:
    types = [G6]
    plan, _ = planned_endpoint(stage=WITH_POOLS, instance_type=P4D, fallback_instance_types=types)
    assert (plan.serving([P4D]).usd_per_hour, plan.serving([P4D]).in_words) == (2.0, P4D)
    assert plan.serving([P4D, G6]).usd_per_hour == 3.0
    other = plan.on(HostingOption(instance_type=G5, usd_per_hour=20.36))
    assert (other.pools, other.usd_per_hour, other.in_words) == ([], 20.36, G5)


def test_no_endpoint_is_not_checked() -> None:
    unusable = {"instance_type": "ml.g4dn.xlarge", "fallback_instance_types": ["ml.g4dn.xlarge"]}
    assert planned_endpoint(deploy=False, **unusable)[1].checks == []


def test_a_fallback_that_cannot_host_the_model_is_a_finding_beside_the_usable_ones() -> None:
    plan, checklist = planned_endpoint(instance_type=P4D, fallback_instance_types=["ml.g4dn.xlarge", G6])
    assert [each.instance_type for each in plan.fallbacks] == [G6]
    (line,) = [each for each in checklist.checks if not each.ok]
    assert (line.check, line.code) == ("endpoint instance", Code.INSTANCE_TYPE_UNSUPPORTED)
    assert line.field == "endpoint.fallback_instance_types"
    assert "ml.g4dn.xlarge" in line.message
    assert "Choose" in line.fix


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
