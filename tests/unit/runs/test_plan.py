"""plan.json: what it keeps of run.json, and what it reads of an earlier version."""

from typing import Any

import pytest

from finetuning.datasets.templates import DEFAULT_TEMPLATE
from finetuning.jumpstart.family import Task
from finetuning.runs.endpoint_plan import HostingOption
from finetuning.runs.names import hosting_suffix
from finetuning.runs.plan import MAX_PREFERENCES, Acceptance, Estimate, RunPlan, TrainingOption, TrainingPlan, in_words
from tests.builders.runs import START, any_plan

TEMPLATE = {"prompt": "Q: {question}", "completion": "{answer}"}


def plan_of_an_earlier_version(**fields: Any) -> RunPlan:
    document = any_plan().model_dump(mode="json")
    del document["data_options"]
    return RunPlan.model_validate({**document, **fields})


def test_a_plan_of_an_earlier_version_keeps_its_data_options() -> None:
    plan = plan_of_an_earlier_version(
        task="instruction", template=TEMPLATE, validation_fraction=0.3, max_error_fraction=0.2, repair=False
    )
    assert plan.data_options.model_dump() == {
        "task": "instruction",
        "template": TEMPLATE,
        "validation_fraction": 0.3,
        "max_error_fraction": 0.2,
        "repair": False,
        "data": {"columns": None, "untrained_answers": "refuse", "near_duplicates": "report", "max_tokens": None},
    }
    assert plan.template == TEMPLATE


def test_a_plan_of_an_earlier_version_may_not_know_its_task() -> None:
    plan = plan_of_an_earlier_version(task=None, template=None, validation_fraction=0.1, max_error_fraction=0.01)
    assert (plan.task, plan.data_options.task, plan.data_options.template) == (None, "auto", None)


@pytest.mark.parametrize(
    ("task", "given", "used"),
    [
        (Task.INSTRUCTION, TEMPLATE, TEMPLATE),
        (Task.INSTRUCTION, None, DEFAULT_TEMPLATE),
        (Task.CHAT, None, None),
        (None, TEMPLATE, None),
    ],
)
def test_only_instructions_have_a_template(task: Task | None, given: Any, used: Any) -> None:
    assert any_plan(task=task, data_options={"template": given}).template == used


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, "run.json"),
        ({"version_id": "v1"}, "run.json version v1"),
        (
            {"version_id": "v1", "requester": "123456789012", "request_id": "N4N7"},
            "account 123456789012 in S3 request N4N7 with run.json version v1",
        ),
        (
            {"version_id": "v1", "requester": "s3.amazonaws.com", "request_id": "N4N7"},
            "service s3.amazonaws.com in S3 request N4N7 with run.json version v1",
        ),
    ],
)
def test_an_acceptance_names_as_much_of_its_request_as_is_known(known: dict[str, str], words: str) -> None:
    assert Acceptance(by="run.json", at=START, licence_key="eula.txt", **known).in_words == words


def test_an_endpoint_that_moves_twice_is_named_after_its_last_type_and_remembers_the_planned_one() -> None:
    first, second = (HostingOption(instance_type=each, usd_per_hour=1) for each in ("ml.g5.48xlarge", "ml.p5.48xlarge"))
    served = {"pools": [first, second], "serving_types": [first.instance_type]}
    planned = any_plan().endpoint.model_copy(update={"fallbacks": [first, second], **served})
    moved = planned.on(first)
    assert "container_key" not in vars(moved), "the endpoint has the image, the option the key of its container"
    assert (moved.pools, moved.serving_types) == ([], [])
    assert moved.model_dump().keys() == planned.model_dump().keys()
    assert (planned.hosted_on, moved.hosted_on, moved.fallbacks) == ("", hosting_suffix("ml.g5.48xlarge"), [second])
    again = moved.on(second)
    assert (again.hosted_on, again.fallbacks) == (hosting_suffix("ml.p5.48xlarge"), [])
    assert again.planned_instance_type == planned.instance_type


def test_types_outside_the_pools_change_nothing() -> None:
    endpoint = any_plan().endpoint
    assert endpoint.serving(["ml.g5.48xlarge"]) == endpoint


def test_the_names_of_a_run_are_those_of_its_endpoint_and_its_type() -> None:
    plan = any_plan()
    moved = plan.endpoint.on(HostingOption(instance_type="ml.g5.48xlarge", usd_per_hour=1))
    elsewhere = plan.model_copy(update={"endpoint": moved.model_copy(update={"name": "support"})})
    names = elsewhere.names("finetune-dev")
    assert names.endpoint == "finetune-dev-support"
    assert names.model == f"finetune-dev-{plan.run_id}" + hosting_suffix("ml.g5.48xlarge")
    assert plan.names("finetune-dev").model == plan.names("finetune-dev").endpoint == f"finetune-dev-{plan.run_id}"


def test_the_option_of_a_type_is_found_and_a_group_is_named() -> None:
    training = any_plan().training
    assert training.option_on("ml.g5.48xlarge") == training.options[1]
    assert training.option_on("ml.p5.48xlarge") is None
    assert in_words(training.options) == "ml.p4d.24xlarge or ml.g5.48xlarge"


def option(key: str = "a", limit: int = 3600, seconds: float | None = 900) -> TrainingOption:
    estimate = Estimate(seconds=seconds, usd_per_hour=1.0, usd=0.25, assumptions=[])
    return TrainingOption(
        instance_type=f"ml.{key}.{limit}",
        request_key=key,
        hyperparameters={},
        max_runtime_seconds=limit,
        estimate=estimate,
        price=None,
    )


def group_sizes(*options: TrainingOption, training_plan_arn: str | None = None) -> list[int]:
    plan = TrainingPlan(
        options=list(options), max_runtime_hours=1, max_cost_usd=None, training_plan_arn=training_plan_arn
    )
    return [len(group) for group in plan.groups]


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ([option()] * MAX_PREFERENCES, [5]),
        ([option()] * (MAX_PREFERENCES + 1), [5, 1]),
        ([option("a"), option("b"), option("b")], [1, 2]),
        ([option("a"), option("b"), option("a")], [1, 1, 1]),
        ([option(""), option("")], [1, 1]),
    ],
)
def test_neighbours_with_the_same_request_are_preferences_of_one_job(
    options: list[TrainingOption], sizes: list[int]
) -> None:
    assert group_sizes(*options) == sizes


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [(1800, [2]), (1801, [1, 1]), (None, [1, 1])],
)
def test_a_type_with_more_time_of_its_own_joins_if_half_of_the_shortest_suffices(
    seconds: float | None, sizes: list[int]
) -> None:
    assert group_sizes(option(limit=7200, seconds=seconds), option(limit=3600)) == sizes
    assert group_sizes(option(limit=3600), option(limit=7200, seconds=seconds)) == sizes
    assert group_sizes(option(seconds=seconds), option(seconds=seconds)) == [2], "the same time as alone"


def test_bought_capacity_is_for_the_first_type_alone() -> None:
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-plan/p"
    assert group_sizes(option(), option(), option(), training_plan_arn=arn) == [1, 2]
