"""Where a model is served: what run.json asks for, what contradicts it, and what `auto` chooses."""

from typing import Any

import pytest

from finetuning.bedrock.prices import import_price
from finetuning.errors import Finding
from finetuning.jumpstart.catalogue import support
from finetuning.planning import serving_target
from finetuning.planning.checklist import Checklist
from finetuning.planning.serving_target import break_even_in_words, check_import, retarget
from finetuning.runs.endpoint_plan import EndpointPlan
from finetuning.runs.status import Check
from tests.builders import jumpstart as builders
from tests.builders.jumpstart import LLAMA, any_stage, planned

IMPORTING = any_stage(bedrock_import=True)
REMOVE = "Remove it, or set endpoint.target to sagemaker."


def settled(
    model: str = "8b", stage: Any = IMPORTING, evaluation: Any = None, tags: Any = None, **endpoint: Any
) -> tuple[EndpointPlan, list[Finding], list[Check]]:
    """The endpoint that is planned, the findings, and the preflight's lines about the target."""
    asked = {"model": LLAMA + model, "accept_eula": True, "task": "chat", "endpoint": endpoint, "tags": tags or {}}
    plan, findings = planned(asked | {"evaluation": evaluation or {}}, stage=stage)
    return plan.endpoint, findings, [check for check in plan.checks if check.check == "target"]


@pytest.mark.parametrize("stage", [any_stage(), IMPORTING])
def test_an_endpoint_is_planned_by_default_beside_the_price_of_an_import(stage: Any) -> None:
    endpoint, findings, lines = settled(stage=stage)
    assert (endpoint.target, endpoint.idle_minutes, endpoint.target_reason) == ("sagemaker", 60, "")
    assert endpoint.import_price == import_price(support(LLAMA + "8b"), "us-east-1")
    assert (findings, lines) == ([], [])


@pytest.mark.parametrize(
    "unsuitable",
    [
        {"model": "405b-fp8"},
        {"data_capture": True},
        {"autoscaling": {"max_instances": 2}},
        {"stage": any_stage(aws_region="eu-west-1")},
    ],
)
def test_no_price_of_an_import_stands_beside_an_endpoint_that_it_cannot_replace(unsuitable: Any) -> None:
    assert settled(**unsuitable)[0].import_price is None


def test_an_imported_model_is_paid_by_use_and_never_idle_too_long() -> None:
    endpoint, findings, (line,) = settled(target="bedrock")
    assert findings == []
    assert (endpoint.target, endpoint.ttl_hours, endpoint.idle_minutes) == ("bedrock", 8, "never")
    assert endpoint.import_price
    assert endpoint.import_price.units == 2
    assert (line.ok, line.message) == (
        True,
        "bedrock: 0.57 USD for each 5 minutes of use, 3.90 USD a month stored",
    )


@pytest.mark.parametrize(("target", "lines"), [("bedrock", 0), ("sagemaker", 1)])
def test_the_price_of_an_instance_is_shown_where_there_will_be_one(target: str, lines: int) -> None:
    run = {"model": LLAMA + "8b", "accept_eula": True, "task": "chat", "endpoint": {"target": target}}
    plan, findings = planned(run, stage=IMPORTING)
    assert findings == []
    assert [check.check for check in plan.checks].count("endpoint instance") == lines


def test_the_plan_keeps_the_target_and_its_price() -> None:
    endpoint, _, _ = settled(target="bedrock", expected_hours_per_day=3)
    document = endpoint.model_dump(mode="json")
    assert (document["target"], document["expected_hours_per_day"]) == ("bedrock", 3)
    assert document["import_price"]["usd_per_window"] == pytest.approx(0.5718)
    assert EndpointPlan.model_validate(document) == endpoint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("autoscaling", {"max_instances": 2}),
        ("data_capture", True),
        ("data_capture", {"percentage": 5}),
        ("instance_type", "ml.g5.12xlarge"),
        ("fallback_instance_types", ["ml.g5.12xlarge"]),
        ("instance_count", 2),
    ],
)
def test_an_option_that_only_an_endpoint_has_is_refused_by_name(field: str, value: Any) -> None:
    _, (found,), _ = settled(target="bedrock", **{field: value})
    assert found == Finding(
        "RUN_JSON_INVALID",
        f"endpoint.{field}",
        f"endpoint.{field} is for SageMaker endpoints, and endpoint.target is bedrock.",
        REMOVE,
    )


def test_idle_minutes_are_refused_because_bedrock_has_its_own() -> None:
    _, (found,), _ = settled(target="bedrock", idle_minutes=60)
    assert (found.code, found.field) == ("RUN_JSON_INVALID", "endpoint.idle_minutes")
    assert found.message.endswith("Bedrock stops an imported model that is not used.")
    assert found.fix == (
        "Remove it; endpoint.ttl_hours deletes an imported model, or set endpoint.target to sagemaker."
    )
    assert settled(target="bedrock", idle_minutes="never")[1] == []


@pytest.mark.parametrize("evaluation", [{"compare_with_base": True}, {"must_beat_base": True}])
def test_the_instances_of_a_comparison_may_be_chosen_for_an_imported_model(evaluation: Any) -> None:
    chosen = {"instance_type": "ml.g5.12xlarge", "fallback_instance_types": ["ml.g5.24xlarge"], "instance_count": 2}
    endpoint, findings, _ = settled(target="bedrock", evaluation=evaluation, **chosen)
    assert findings == []
    assert (endpoint.instance_type, endpoint.instance_count) == ("ml.g5.12xlarge", 2)


def test_defaults_that_are_written_out_contradict_nothing() -> None:
    written = {"autoscaling": None, "data_capture": False, "instance_type": None, "instance_count": 1}
    assert settled(target="bedrock", fallback_instance_types=[], **written)[1] == []


def test_a_stage_without_access_refuses_an_import() -> None:
    _, (found,), _ = settled(stage=any_stage(), target="bedrock")
    assert found == Finding(
        "BEDROCK_NOT_ENABLED",
        "endpoint.target",
        "The stage dev may not import models into Bedrock.",
        'Deploy it with `-c bedrock_import=true`, or `"bedrock_import": true` in the context of cdk.json, or set '
        "endpoint.target to sagemaker.",
    )


def test_a_model_and_a_region_that_bedrock_does_not_take_are_refused_together() -> None:
    stage = any_stage(bedrock_import=True, aws_region="eu-west-1")
    _, findings, _ = settled("405b-instruct-fp8", stage, target="bedrock")
    assert [(each.code, each.field) for each in findings] == [
        ("REGION_UNSUPPORTED", "endpoint.target"),
        ("MODEL_NOT_IMPORTABLE", "endpoint.target"),
        ("MODEL_NOT_IMPORTABLE", "endpoint.target"),
    ]


def test_a_tag_with_other_letters_than_ascii_is_refused_for_an_import() -> None:
    _, (found,), _ = settled(target="bedrock", tags={"team": "Sökäö"})
    assert (found.code, found.field) == ("RUN_JSON_INVALID", "tags.team")
    assert found.message == "The tag 'team' has characters that Bedrock's tags cannot have: ä, ö."
    assert settled(tags={"team": "Söder"})[1] == []


@pytest.mark.parametrize(("hours", "target"), [(0, "bedrock"), (7, "bedrock"), (7.2, "sagemaker"), (24, "sagemaker")])
def test_auto_takes_what_costs_less_on_both_sides_of_the_break_even(hours: float, target: str) -> None:
    endpoint, findings, (line,) = settled(target="auto", expected_hours_per_day=hours)
    assert findings == []
    assert endpoint.target == target
    assert endpoint.idle_minutes == ("never" if target == "bedrock" else 60)
    assert endpoint.break_even_hours_per_day == pytest.approx(7.08, abs=0.005)
    assert line.ok
    assert line.message.startswith(f"{target}: with {hours:g} hours of use a day ")
    assert line.message == f"{target}: {endpoint.target_reason}"


def test_auto_says_both_prices_and_the_break_even() -> None:
    _, _, (line,) = settled(target="auto", expected_hours_per_day=2)
    assert line.message == (
        "bedrock: with 2 hours of use a day 421.31 USD a month imported into Bedrock, 1,481.90 USD on an endpoint that "
        "always serves; below 7.1 hours of use a day the imported model costs less"
    )


def test_auto_counts_every_instance_of_the_endpoint() -> None:
    endpoint, _, _ = settled(target="auto", expected_hours_per_day=10, instance_count=2)
    assert endpoint.target == "bedrock"
    assert endpoint.usd_per_month == pytest.approx(2 * 2.03 * 730)


def test_auto_without_the_expected_hours_is_refused() -> None:
    _, (found,), _ = settled(target="auto")
    assert (found.code, found.field) == ("RUN_JSON_INVALID", "endpoint.expected_hours_per_day")
    assert "which is not set" in found.message


def test_auto_without_a_price_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "fallback_price", lambda instance_type, use: None)
    _, (found,), _ = settled(target="auto", expected_hours_per_day=2)
    assert (found.code, found.field) == ("PRICE_UNKNOWN", "endpoint.target")
    assert found.message == "endpoint.target auto cannot compare prices: that of ml.g5.4xlarge is unknown."
    assert found.fix == "Set endpoint.target to sagemaker or bedrock."


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"stage": any_stage()}, "The stage dev may not import models into Bedrock."),
        ({"model": "405b-fp8", "stage": IMPORTING}, "its weights are fp8"),
        ({"data_capture": True}, "Only an endpoint has endpoint.data_capture."),
        ({"autoscaling": {"max_instances": 2}}, "Only an endpoint has endpoint.autoscaling."),
        ({"tags": {"team": "ö"}}, "The tag 'team' has characters that Bedrock's tags cannot have: ö."),
    ],
)
def test_auto_takes_the_endpoint_where_an_import_is_not_possible_and_says_why(changes: Any, why: str) -> None:
    task = {"model": "8b"} | changes
    endpoint, _, (line,) = settled(target="auto", expected_hours_per_day=0, **task)
    assert (endpoint.target, line.ok) == ("sagemaker", True)
    assert line.message.startswith("sagemaker: ")
    assert why in line.message


def test_auto_takes_the_import_all_day_where_an_endpoint_costs_more_at_any_use() -> None:
    """Llama 3's 8B model is served on a type that costs more than an hour of use."""
    asked = {"model": "meta-textgeneration-llama-3-8b", "accept_eula": True, "task": "chat"}
    endpoint = {"target": "auto", "expected_hours_per_day": 24}
    plan, findings = planned(asked | {"endpoint": endpoint}, stage=IMPORTING)
    assert findings == []
    assert plan.endpoint.target == "bedrock"
    assert plan.endpoint.target_reason.endswith("; the imported model costs less at any use")


def test_auto_says_which_options_an_import_does_not_use() -> None:
    unused = {"instance_count": 1, "instance_type": "ml.g5.12xlarge", "idle_minutes": 30}
    endpoint, findings, _ = settled(target="auto", expected_hours_per_day=1, **unused)
    assert (endpoint.target, findings) == ("bedrock", [])
    assert endpoint.target_reason.startswith("with 1 hour of use a day ")
    assert endpoint.target_reason.endswith(". Not used: endpoint.instance_type, endpoint.idle_minutes")
    compared, _, _ = settled(target="auto", expected_hours_per_day=1, evaluation={"compare_with_base": True}, **unused)
    assert compared.target_reason.endswith(". Not used: endpoint.idle_minutes")
    dearer, _, _ = settled(target="auto", expected_hours_per_day=24, instance_type="ml.g5.4xlarge")
    assert "Not used" not in dearer.target_reason


def test_a_trained_run_moves_to_the_other_target_and_back() -> None:
    asked = {"data_capture": True, "autoscaling": {"max_instances": 2}, "idle_minutes": 30}
    plan, _ = planned({"model": LLAMA + "8b", "accept_eula": True, "task": "chat", "endpoint": asked})
    assert retarget(plan, "sagemaker", IMPORTING) == plan.endpoint
    imported = retarget(plan, "bedrock", IMPORTING)
    assert (imported.target, imported.idle_minutes, imported.autoscaling) == ("bedrock", "never", None)
    assert imported.data_capture_percentage == 0
    assert imported.import_price == import_price(support(LLAMA + "8b"), "us-east-1")
    chosen = imported.model_copy(update={"target_reason": "it costs less"})
    back = retarget(plan.model_copy(update={"endpoint": chosen}), "sagemaker", IMPORTING)
    assert (back.target, back.idle_minutes, back.target_reason) == ("sagemaker", 60, "")


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        (0, "the endpoint costs less at any use"),
        (0.5, "below 0.5 hours of use a day the imported model costs less"),
        (24, "the imported model costs less at any use"),
    ],
)
def test_the_break_even_in_words(hours: float, said: str) -> None:
    assert break_even_in_words(hours) == said


def test_all_obstacles_to_an_import_are_said_one_after_the_other() -> None:
    endpoint, _, _ = settled(target="auto", data_capture=True, tags={"team": "ö"})
    first = "Only an endpoint has endpoint.data_capture."
    assert endpoint.target_reason == f"{first} The tag 'team' has characters that Bedrock's tags cannot have: ö."


@pytest.fixture
def unpriced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_target, "import_price", lambda model, region: None)


def test_auto_without_the_price_of_an_import_is_refused(unpriced: None) -> None:
    _, (found,), _ = settled(target="auto", expected_hours_per_day=2)
    assert (
        found.message == "endpoint.target auto cannot compare prices: that of imported models of this size is unknown."
    )


def test_an_import_whose_price_is_unknown_is_planned_and_says_so(unpriced: None) -> None:
    _, findings, (line,) = settled(target="bedrock")
    assert (findings, line.message) == ([], "bedrock: price unknown")


def test_the_import_of_a_trained_run_is_checked_with_its_price() -> None:
    plan, _ = planned(
        {"model": LLAMA + "8b", "accept_eula": True, "task": "chat", "endpoint": {"target": "bedrock"}}, stage=IMPORTING
    )
    checklist = Checklist()
    check_import(plan, IMPORTING, checklist)
    (line,) = checklist.checks
    assert (line.ok, line.message) == (True, "bedrock: 0.57 USD for each 5 minutes of use, 3.90 USD a month stored")
    refused = Checklist()
    check_import(plan, any_stage(), refused)
    assert [(line.ok, line.code) for line in refused.checks] == [(False, "BEDROCK_NOT_ENABLED")]
