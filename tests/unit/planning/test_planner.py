"""A submission judged whole: all findings at once, and a plan that holds."""

import re
from typing import Any

import pytest

from finetuning.datasets.tokens import BYTES_PER_TOKEN, assumed_tokens
from finetuning.errors import RunRefused
from finetuning.jumpstart.family import Task
from finetuning.jumpstart.spec import public_address
from finetuning.planning.orders import base_model, hosting, run_requests, run_tags, training_job
from finetuning.planning.planner import complete, summary_of
from finetuning.planning.submission import look_up_prices
from finetuning.runs.plan import DatasetSummary, Measurement, RunPlan
from finetuning.runs.run_json import HELD_OUT, MAX_OWN_PROMPTS, MAX_PROMPTS, RunRequest
from tests.builders.jumpstart import LLAMA, NOW, TARGET, any_spec, any_stage, planned
from tests.builders.runs import any_dataset

DOLLY = b'{"instruction": "Add", "context": "3 + 4", "response": "7", "category": "math"}\n'
PROSE = b"It was a dark and stormy night in the harbour of Tindermoor.\n"


def codes(run_json: Any, **how: Any) -> list[tuple[str, str]]:
    return [(finding.code, finding.field) for finding in planned(run_json, **how)[1]]


def accepted(**fields: Any) -> dict[str, Any]:
    return {"accept_eula": True, **fields}


def good(run_json: dict[str, Any], **how: Any) -> RunPlan:
    plan, findings = planned(run_json, **how)
    assert findings == []
    return plan


def test_five_problems_are_five_findings() -> None:
    assert codes(
        {
            "task": "chat",
            "hyperparameters": {"epochs": 3, "learning_rate": 7},
            "training": {"instance_type": "ml.p4d.24xlarge"},
            "endpoint": {"instance_type": "ml.t3.large"},
        }
    ) == [
        ("EULA_NOT_ACCEPTED", "accept_eula"),
        ("INSTANCE_TYPE_UNSUPPORTED", "training.instance_type"),
        ("HYPERPARAMETER_INVALID", "hyperparameters.epochs"),
        ("HYPERPARAMETER_INVALID", "hyperparameters.learning_rate"),
        ("INSTANCE_TYPE_UNSUPPORTED", "endpoint.instance_type"),
    ]


def test_a_plan_survives_being_written_and_read() -> None:
    plan = good(accepted(training={"fallback_instance_types": ["ml.g5.48xlarge"]}))
    assert RunPlan.model_validate_json(plan.model_dump_json()) == plan


def test_an_unknown_model_does_not_hide_the_other_findings() -> None:
    assert codes(accepted(model=LLAMA + "9b", hyperparameters={"epoch": 0})) == [
        ("MODEL_UNKNOWN", "model"),
        ("HYPERPARAMETER_INVALID", "hyperparameters.epoch"),
    ]


def test_who_accepted_which_licence_when_is_in_the_plan_and_in_the_tags() -> None:
    plan = good(accepted())
    assert plan.accepted is not None
    assert (plan.accepted.by, plan.accepted.at) == ("s3://upload-bucket/runs/demo/run.json", NOW)
    tags = run_tags(plan, TARGET)
    by = "account 123456789012 in S3 request N4N7GDK58NMKJ12R with s3://upload-bucket/runs/demo/run.json version v1"
    assert tags["finetune:eula-accepted-by"] == plan.accepted.in_words == by
    assert tags["finetune:eula-accepted-at"].startswith("2026-11-23T18:10:26")
    assert tags["finetune:eula"] == "fmhMetadata/eula/llama3_1Eula.txt"


def test_a_stage_that_accepts_the_licence_is_recorded_as_the_one_who_did() -> None:
    plan = good({}, stage=any_stage(accept_eula=True))
    assert plan.accepted is not None
    assert plan.accepted.in_words == "stage dev"  # not who uploaded the data


def test_a_licence_that_is_not_accepted_is_a_finding_with_both_ways_to_accept_it() -> None:
    _, [finding] = planned({})
    assert finding.code == "EULA_NOT_ACCEPTED"
    assert '"accept_eula": true in a run.json next to the data' in finding.fix
    assert "deploy the stage with `-c accept_eula=true`" in finding.fix


@pytest.mark.parametrize(
    ("model", "head", "name", "task"),
    [
        ("8b", DOLLY, "d.jsonl", Task.INSTRUCTION),
        ("405b-fp8", DOLLY, "d.jsonl", Task.CHAT),
        ("8b", PROSE, "d.txt", Task.DOMAIN_ADAPTATION),
        ("8b", b"PAR1" + b"\0" * 40, "d.parquet", None),
    ],
)
def test_the_task_is_what_the_data_shows(model: str, head: bytes, name: str, task: Task | None) -> None:
    plan = good(accepted(model=LLAMA + model), head=head, name=name)
    assert plan.task == task
    assert plan.parquet == name.endswith(".parquet")


def test_a_field_that_cannot_be_read_is_refused_once() -> None:
    assert codes({"accept_eula": "true"}) == [("RUN_JSON_INVALID", "accept_eula")]
    assert codes(accepted(model=7)) == [("RUN_JSON_INVALID", "model")]


def test_a_file_that_is_not_data_is_refused_with_the_rest() -> None:
    assert ("DATASET_REFUSED", "") in codes({}, head=b"<!DOCTYPE html><html>", name="d.jsonl")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (b"{}", "prompt"),
        (b"not json", "template.json"),
        (b'{"prompt": "{instruction", "completion": "{response}"}', "braces"),
        (b'{"prompt": "{question}", "completion": "{response}"}', "question"),
        (b'{"prompt": "{}", "completion": "{response}"}', "without a column"),
        (b'{"prompt": "{instruction!r}", "completion": "{response}"}', "{instruction!r}"),
        (b'{"prompt": "{instruction:>9}", "completion": "{response}"}', "{instruction:>9}"),
        (b'{"prompt": "{instruction}", "completion": 7}', "completion"),
        (b'{"prompt": "always", "completion": "the same"}', "has no {column}"),
    ],
)
def test_a_template_that_does_not_fit_its_rows_is_refused(template: bytes, message: str) -> None:
    _, findings = planned(accepted(), head=DOLLY, template_file=template)
    assert [finding.code for finding in findings] == ["TEMPLATE_INVALID"]
    assert message in findings[0].message


def test_a_fitting_template_is_kept_and_makes_the_task_instruction() -> None:
    template = b'{"prompt": "{instruction} {{as is}}", "completion": "{response}"}'
    plan = good(accepted(), head=DOLLY, template_file=template)
    assert plan.task is Task.INSTRUCTION
    assert plan.template == {"prompt": "{instruction} {{as is}}", "completion": "{response}"}


def test_over_budget_is_refused_with_the_numbers() -> None:
    _, findings = planned(accepted(training={"max_cost_usd": 5}), size=400_000_000)
    assert [(finding.code, finding.field) for finding in findings] == [
        ("OVER_BUDGET", "training.max_cost_usd"),
        ("OUT_OF_TIME", "training.max_runtime_hours"),
    ]
    for number in ("5.00 USD", "1280 tokens/s", f"{assumed_tokens(400_000_000):,} tokens", "7.09 USD per hour"):
        assert number in findings[0].message


@pytest.mark.parametrize(
    ("model", "instance_type", "tokens", "enough", "too_little"),
    [
        # 25.25 USD an hour; at 37.69, the price before, the same training would cost 140 USD.
        (LLAMA + "70b-instruct", "ml.p4d.24xlarge", 2_200_000, 95, 90),
        # 63.30 USD an hour; at 98.32 the start-up of four hours alone would cost 393 USD.
        (LLAMA + "405b-instruct-fp8", "ml.p5.48xlarge", 1_000_000, 392, 390),
    ],
)
def test_prod_allows_the_largest_models_what_their_prices_allow(
    model: str, instance_type: str, tokens: int, enough: float, too_little: float
) -> None:
    training = {"instance_type": instance_type, "fallback_instance_types": []}
    asked = accepted(model=model, training=training, hyperparameters={"epoch": 1})
    for budget, codes_found in ((enough, []), (too_little, ["OVER_BUDGET"])):
        prod = any_stage(stage="prod", max_cost_usd=budget, endpoint_ttl_hours="never", endpoint_idle_minutes="never")
        plan, findings = planned(asked, stage=prod, size=int(BYTES_PER_TOKEN["Latin"] * tokens))
        assert [finding.code for finding in findings] == codes_found, plan.training.estimate
        assert all("max_tokens" in finding.fix for finding in findings)


def test_the_number_of_tokens_that_a_refusal_names_fits() -> None:
    training = {"instance_type": "ml.p4d.24xlarge", "fallback_instance_types": [], "max_cost_usd": 90}
    asked = {"model": LLAMA + "70b-instruct", "training": training, "hyperparameters": {"epoch": 1}}
    size = int(BYTES_PER_TOKEN["Latin"] * 2_200_000)
    _, (refused,) = planned(accepted(**asked), size=size)
    said = re.search(r'"max_tokens": (\d+) in data', refused.fix)
    assert refused.code == "OVER_BUDGET"
    assert said
    plan, findings = planned(accepted(**asked, data={"max_tokens": int(said[1])}), size=size)
    assert findings == []
    assert plan.training.options[0].estimate.tokens == int(said[1])
    assert plan.data_options.data.max_tokens == int(said[1])


@pytest.mark.parametrize(
    ("budget", "counted", "source"),
    [
        (900, 900, "data.max_tokens"),
        (1000, 1000, "estimated from the file sizes"),
        (1100, 1000, "estimated from the file sizes"),
    ],
)
def test_a_budget_of_tokens_limits_what_is_trained_on(budget: int, counted: int, source: str) -> None:
    plan = good(accepted(data={"max_tokens": budget}), size=int(BYTES_PER_TOKEN["Latin"] * 1000))
    estimate = plan.training.estimate
    assert estimate.tokens == counted
    assert estimate.assumptions[0] == f"{counted:,} tokens per epoch ({source})"


def test_a_sufficient_budget_limits_the_jobs_time() -> None:
    plan = good(accepted(training={"max_cost_usd": 7.09}))
    assert plan.training.max_runtime_seconds == 3600
    assert plan.training.estimate.usd is not None
    assert plan.training.estimate.usd < 7.09


def test_a_job_that_would_be_stopped_before_it_ends_is_a_finding() -> None:
    assert codes(accepted(training={"max_runtime_hours": 0.2})) == [("OUT_OF_TIME", "training.max_runtime_hours")]


@pytest.mark.parametrize(("of_run", "of_stage", "used"), [(20, 100, 20), (20, None, 20), (None, 100, 100)])
def test_the_smaller_budget_of_run_and_stage_limits_the_job(
    of_run: float | None, of_stage: float | None, used: float
) -> None:
    training = {"max_cost_usd": of_run, "fallback_instance_types": []} if of_run else {"fallback_instance_types": []}
    plan = good(accepted(training=training), stage=any_stage(max_cost_usd=of_stage))
    assert plan.training.max_cost_usd == used
    assert plan.training.max_runtime_seconds == int(used / 7.09 * 3600)


@pytest.mark.parametrize(("of_run", "used"), [(4, 4), (None, 10)])
def test_the_smaller_time_limit_of_run_and_stage_limits_the_job(of_run: float | None, used: float) -> None:
    training = {"max_runtime_hours": of_run} if of_run else {}
    plan = good(accepted(training=training), stage=any_stage(max_runtime_hours=10))
    assert plan.training.max_runtime_hours == used
    assert plan.training.max_runtime_seconds == used * 3600


def test_more_than_the_stage_allows_is_refused_not_reduced() -> None:
    limits = any_stage(max_runtime_hours=10, max_cost_usd=50)
    assert codes(accepted(training={"max_runtime_hours": 11, "max_cost_usd": 51}), stage=limits) == [
        ("OUT_OF_TIME", "training.max_runtime_hours"),
        ("OVER_BUDGET", "training.max_cost_usd"),
    ]


def test_every_fallback_has_its_own_price_and_time() -> None:
    plan = good(accepted(training={"fallback_instance_types": ["ml.g5.48xlarge"], "max_cost_usd": 20.36}))
    first, second = plan.training.options
    assert plan.training.instance_types == ["ml.g5.12xlarge", "ml.g5.48xlarge"]
    assert (first.estimate.usd_per_hour, second.estimate.usd_per_hour) == (7.09, 20.36)
    assert second.max_runtime_seconds == 3600 < first.max_runtime_seconds
    assert plan.training.groups == [[first, second]]
    job = training_job(any_spec(plan.model_id), plan, TARGET)
    assert job["StoppingCondition"]["MaxRuntimeInSeconds"] == 3600, "the budget of the dearer type"


def test_a_type_that_may_need_the_time_that_another_would_take_from_it_gets_a_job_of_its_own() -> None:
    plan = good(accepted(training={"fallback_instance_types": ["ml.g5.48xlarge"], "max_cost_usd": 20.36}))
    first, second = plan.training.options
    slow = first.model_copy(update={"estimate": first.estimate.model_copy(update={"seconds": 1801})})
    apart = plan.model_copy(update={"training": plan.training.model_copy(update={"options": [slow, second]})})
    assert apart.training.groups == [[slow], [second]]
    job = training_job(any_spec(plan.model_id), apart, TARGET, attempt=1)
    assert job["TrainingJobName"].endswith("-1")
    assert job["ResourceConfig"]["InstanceType"] == "ml.g5.48xlarge"
    assert job["StoppingCondition"]["MaxRuntimeInSeconds"] == 3600


def test_a_fallback_that_cannot_be_used_is_named() -> None:
    asked = {"fallback_instance_types": ["ml.p4d.24xlarge"]}
    assert codes(accepted(training=asked)) == [("INSTANCE_TYPE_UNSUPPORTED", "training.fallback_instance_types")]


def test_a_region_jumpstart_does_not_serve_is_a_finding() -> None:
    found = codes(accepted(), stage=any_stage(aws_region="xx-nowhere-1"))
    assert {code for code, _ in found} == {"REGION_UNSUPPORTED"}


def test_approval_is_asked_for_before_a_deployment_only() -> None:
    assert planned(accepted(approval=True))[0].approval is True
    assert planned(accepted(approval=True, endpoint={"deploy": False}))[0].approval is False


OTHERS_OF_8B = ["ml.g5.24xlarge", "ml.g5.48xlarge", "ml.g4dn.12xlarge", "ml.p3dn.24xlarge"]


def test_fallbacks_are_the_models_other_types_unless_run_json_says_which_or_none() -> None:
    plan, findings = planned(accepted())
    assert plan.training.instance_types[0] == "ml.g5.12xlarge"
    assert sorted(plan.training.instance_types[1:]) == sorted(OTHERS_OF_8B)
    assert findings == []
    chosen = accepted(training={"fallback_instance_types": ["ml.g5.48xlarge"]})
    assert planned(chosen)[0].training.instance_types == ["ml.g5.12xlarge", "ml.g5.48xlarge"]
    assert planned(accepted(training={"fallback_instance_types": []}))[0].training.instance_types == ["ml.g5.12xlarge"]


def test_default_fallbacks_are_tried_cheapest_first() -> None:
    plan, _ = planned(accepted())
    costs = [option.estimate.usd for option in plan.training.options[1:]]
    known = [cost for cost in costs if cost is not None]
    assert known == sorted(known)
    assert costs[: len(known)] == known, "those of unknown cost come last"


def test_a_default_fallback_over_the_budget_is_left_out_with_the_reason() -> None:
    first = planned(accepted())[0].training.options
    dearest = max(option.estimate.usd or 0 for option in first)
    plan, findings = planned(accepted(training={"max_cost_usd": dearest - 0.01}))
    left_out = {option.instance_type for option in first} - set(plan.training.instance_types)
    assert findings == []
    assert left_out
    found = [check for check in plan.checks if check.check == "fallbacks"]
    assert {check.message.split(" is not used")[0] for check in found} == left_out
    assert all(check.ok for check in found)


def test_a_chosen_fallback_that_does_not_fit_is_a_finding() -> None:
    (option,) = [o for o in planned(accepted())[0].training.options if o.instance_type == "ml.p3dn.24xlarge"]
    assert option.price is not None
    assert ("OVER_BUDGET", "training.fallback_instance_types") in codes(
        accepted(training={"fallback_instance_types": ["ml.p3dn.24xlarge"], "max_cost_usd": 0.5})
    )


def test_a_type_the_stages_permissions_refuse_is_found_before_a_job_is_started() -> None:
    stage = any_stage(training_instance_types=("ml.g5.*",))
    assert planned(accepted(), stage=stage)[0].training.instance_types[1:] == ["ml.g5.24xlarge", "ml.g5.48xlarge"]
    asked = accepted(training={"instance_type": "ml.p3dn.24xlarge"})
    assert ("INSTANCE_TYPE_UNSUPPORTED", "training.instance_type") in codes(asked, stage=stage)


def test_a_default_fallback_too_slow_for_the_prepared_data_is_left_out() -> None:
    plan, _ = planned(accepted(training={"instance_type": "ml.g5.48xlarge", "max_runtime_hours": 3}))
    spec = any_spec(LLAMA + "8b-instruct")
    slowest = max(plan.training.options, key=lambda option: option.estimate.seconds or 0)
    assert slowest.estimate.tokens_per_second
    tokens = int(slowest.estimate.tokens_per_second * 3 * 3600 / slowest.estimate.epochs)
    finished = complete(plan, spec, "chat", DatasetSummary(train_rows=9, validation_rows=1, train_tokens=tokens))
    assert slowest.instance_type not in finished.training.instance_types
    assert any(slowest.instance_type in check.message for check in finished.checks if check.check == "fallbacks")


def test_tags_reserved_by_the_project_or_aws_are_refused() -> None:
    assert codes(accepted(tags={"aws:x": "1", "finetune:run-id": "2", "team": "3"})) == [
        ("RUN_JSON_INVALID", "tags.aws:x"),
        ("RUN_JSON_INVALID", "tags.finetune:run-id"),
    ]


def test_the_specification_is_used_where_it_differs_from_the_catalogue() -> None:
    plan = good(accepted(model=LLAMA + "70b"))
    note = next(check.message for check in plan.checks if check.check == "model")
    assert "per_device_train_batch_size is 1 by default, not 8" in note
    assert plan.hyperparameters["per_device_train_batch_size"] == "1"


def test_own_prompts_are_asked_beside_held_out_ones() -> None:
    assert good(accepted(evaluation={"prompts": 3})).evaluation.held_out == 3
    own = good(accepted(evaluation={"prompts": ["Ahoy?"]})).evaluation
    assert (own.held_out, own.prompts) == (HELD_OUT, ["Ahoy?"])


@pytest.mark.parametrize("prompts", [MAX_PROMPTS, ["Ahoy?"] * MAX_OWN_PROMPTS])
def test_no_more_prompts_are_asked_than_fit_into_the_time(prompts: int | list[str]) -> None:
    assert good(accepted(evaluation={"prompts": prompts}))
    more = prompts + 1 if isinstance(prompts, int) else [*prompts, "One more?"]
    assert ("RUN_JSON_INVALID", "evaluation.prompts") in codes(accepted(evaluation={"prompts": more}))


def test_nothing_is_deployed_if_run_json_says_so() -> None:
    plan = good(accepted(endpoint={"deploy": False}, evaluation={"compare_with_base": True}))
    assert plan.evaluation.compare_with_base is False
    assert set(run_requests(any_spec(plan.model_id), plan, TARGET)) == {"create_training_job"}


def test_temporary_endpoints_have_their_own_names_the_live_ones_instances_and_a_short_ttl() -> None:
    plan = good(accepted(endpoint={"instance_count": 2, "ttl_hours": 100, "data_capture": True}))
    live, candidate, base = (hosting(variant, plan, TARGET) for variant in ("live", "candidate", "base"))
    assert (candidate.endpoint, base.endpoint) == (f"{live.endpoint}-candidate", f"{live.endpoint}-base")
    assert {(each.instance_type, each.instance_count) for each in (live, candidate, base)} == {
        (plan.endpoint.instance_type, 2)
    }
    assert {each.tags["finetune:ttl-hours"] for each in (candidate, base)} == {"3"}
    assert (candidate.model, base.model) == (live.model, base.endpoint)
    assert (live.capture, candidate.capture) == (f"s3://{TARGET.bucket}/runs/{plan.run_id}/capture", None)
    assert base_model(any_spec(plan.model_id), plan, TARGET)["ModelName"].endswith("-base")


def test_a_model_that_must_beat_the_base_model_is_compared_with_it() -> None:
    assert good(accepted(evaluation={"must_beat_base": True})).evaluation.compare_with_base
    never_deployed = good(accepted(endpoint={"deploy": False}, evaluation={"must_beat_base": True}))
    assert not never_deployed.evaluation.must_beat_base


@pytest.mark.parametrize("changes", [{"evaluation": {"prompts": 0}}, {"validation_fraction": 0}])
def test_a_gate_without_held_out_rows_is_refused(changes: dict[str, Any]) -> None:
    evaluation = {"must_beat_base": True, **changes.get("evaluation", {})}
    _, findings = planned(accepted(**(changes | {"evaluation": evaluation})))
    assert [finding.field for finding in findings] == ["evaluation.must_beat_base"]


@pytest.mark.parametrize(("low", "count", "high"), [(3, 3, 2), (2, 1, 4), (1, 5, 4)])
def test_autoscaling_starts_within_its_limits_or_is_refused(low: int, count: int, high: int) -> None:
    scaling = {"min_instances": low, "max_instances": high}
    _, findings = planned(accepted(endpoint={"instance_count": count, "autoscaling": scaling}))
    assert [finding.field for finding in findings] == ["endpoint.autoscaling"]


def test_an_endpoint_may_grow_to_what_autoscaling_allows() -> None:
    scaled = good(accepted(endpoint={"autoscaling": {"max_instances": 4}})).endpoint
    assert (scaled.instance_count, scaled.most_instances) == (1, 4)
    assert good(accepted(endpoint={"instance_count": 2})).endpoint.most_instances == 2


@pytest.mark.parametrize(("asked", "percentage"), [(False, 0), (True, 100), ({"percentage": 5}, 5)])
def test_requests_are_captured_as_run_json_says(asked: object, percentage: int) -> None:
    plan = good(accepted(endpoint={"data_capture": asked}))
    assert plan.endpoint.data_capture_percentage == percentage
    request = run_requests(any_spec(plan.model_id), plan, TARGET)["create_endpoint_config"]
    captured = request.get("DataCaptureConfig", {}).get("InitialSamplingPercentage", 0)
    assert captured == percentage


def test_captured_requests_are_encrypted_with_the_stages_key() -> None:
    plan = good(accepted(endpoint={"data_capture": True}))
    request = run_requests(any_spec(plan.model_id), plan, TARGET)["create_endpoint_config"]
    assert request["DataCaptureConfig"] == {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{TARGET.bucket}/runs/{plan.run_id}/capture",
        "KmsKeyId": TARGET.kms_key_arn,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }


def summary(**changes: int) -> DatasetSummary:
    return DatasetSummary(**{"train_rows": 90, "validation_rows": 10, "train_tokens": 9000} | changes)


def test_a_completed_plan_has_the_tasks_flags_and_the_datasets_tokens() -> None:
    plan = good(accepted(), head=b"PAR1" + b"\0" * 40, name="d.parquet")
    completed = complete(plan, any_spec(plan.model_id), "instruction", summary(train_tokens=900_000))
    assert completed.task is Task.INSTRUCTION
    assert completed.hyperparameters["instruction_tuned"] == "True"
    assert completed.training.estimate.tokens == 900_000
    assert completed.checks == plan.checks


def test_without_held_out_rows_there_is_no_channel_and_the_script_splits_nothing_off() -> None:
    plan = good(accepted())
    spec = any_spec(plan.model_id)
    completed = complete(plan, spec, "chat", summary(validation_rows=0))
    assert completed.hyperparameters["validation_split_ratio"] == "0"
    channels = [c["ChannelName"] for c in training_job(spec, completed, TARGET)["InputDataConfig"]]
    assert channels == ["training", "code"]


def test_a_dataset_larger_than_the_plan_allows_is_refused_before_training() -> None:
    plan = good(accepted(training={"max_cost_usd": 5}))
    with pytest.raises(RunRefused) as refused:
        complete(plan, any_spec(plan.model_id), "chat", summary(train_tokens=10**9))
    assert [finding.code for finding in refused.value.findings] == ["OVER_BUDGET", "OUT_OF_TIME"]


def test_rows_that_turn_out_to_be_instructions_are_refused_on_a_model_without_that_mode() -> None:
    plan = good(accepted(model=LLAMA + "405b-fp8"), head=b"PAR1" + b"\0" * 40, name="d.parquet")
    with pytest.raises(RunRefused, match="planned"):
        complete(plan, any_spec(plan.model_id), "instruction", summary())


def test_the_estimate_of_a_completed_plan_is_that_of_the_prepared_rows() -> None:
    plan = good(accepted())
    completed = complete(plan, any_spec(plan.model_id), "chat", summary())
    assert any("9,000 tokens" in each and "prepared rows" in each for each in completed.training.estimate.assumptions)


def test_a_completed_plan_is_still_estimated_from_what_an_earlier_run_measured() -> None:
    plan = good(accepted(training={"fallback_instance_types": []}))
    measured = Measurement(tokens_per_second=500, start_seconds=700, run_id="faq-1", measured_at=NOW)
    (option,) = plan.training.options
    training = plan.training.model_copy(update={"options": [option.model_copy(update={"measured": measured})]})
    known = plan.model_copy(update={"training": training})
    completed = complete(known, any_spec(plan.model_id), "chat", summary(train_tokens=100_000))
    assert completed.training.estimate.seconds == 700 + 100_000 * completed.training.estimate.epochs / 500
    assert completed.training.options[0].measured == measured


def test_the_script_splits_rows_off_only_as_its_default_where_rows_are_held_out() -> None:
    plan = good(accepted())
    spec = any_spec(plan.model_id)
    assert complete(plan, spec, "chat", summary()).hyperparameters["validation_split_ratio"] == "0.2"
    others = tuple(each for each in spec.hyperparameters if each.name != "validation_split_ratio")
    without = spec.model_copy(update={"hyperparameters": others})
    completed = complete(plan, without, "chat", summary(validation_rows=0))
    assert "validation_split_ratio" not in completed.hyperparameters


def test_a_chosen_fallback_that_is_too_slow_for_the_prepared_data_is_a_finding() -> None:
    chosen = {"instance_type": "ml.g5.48xlarge", "fallback_instance_types": ["ml.g5.12xlarge"]}
    plan = good(accepted(training=chosen | {"max_runtime_hours": 3}))
    fast, slow = (option.estimate for option in plan.training.options)
    assert fast.tokens_per_second
    assert slow.tokens_per_second
    tokens = int((fast.tokens_per_second + slow.tokens_per_second) / 2 * 3 * 3600 / slow.epochs)
    with pytest.raises(RunRefused) as refused:
        complete(plan, any_spec(plan.model_id), "chat", summary(train_tokens=tokens))
    assert [finding.field for finding in refused.value.findings] == ["training.fallback_instance_types"]


def test_a_plan_has_what_the_data_and_run_json_say() -> None:
    plan = good(accepted(model=LLAMA + "8b", training={"capacity_wait_hours": 3}), head=DOLLY, name="d.jsonl")
    assert plan.task is Task.INSTRUCTION
    assert plan.training.capacity_wait_hours == 3
    assert plan.hyperparameters["instruction_tuned"] == "True"
    assert any("estimated from the file sizes" in each for each in plan.training.estimate.assumptions)
    assert plan.resolution is not None
    assert plan.resolution.refusal is None


def test_a_model_must_beat_the_base_model_only_where_it_is_deployed() -> None:
    assert good(accepted(evaluation={"must_beat_base": True})).evaluation.must_beat_base
    assert not good(accepted()).evaluation.must_beat_base
    trained = good(accepted(evaluation={"must_beat_base": True}, endpoint={"deploy": False}))
    assert not trained.evaluation.must_beat_base


def test_prices_are_looked_up_for_training_and_for_hosting() -> None:
    asked: list[tuple[str, str]] = []
    spec = any_spec()
    look_up_prices(RunRequest(), spec, lambda *named: asked.append(named))
    assert asked == [
        *((each, "training") for each in sorted(spec.supported_training_instance_types)),
        (spec.default_inference_instance_type, "hosting"),
    ]


def test_the_preflight_shows_who_accepted_the_licence_and_its_text() -> None:
    plan = good(accepted())
    (line,) = [check for check in plan.checks if check.check == "licence"]
    assert "account 123456789012 in S3 request N4N7GDK58NMKJ12R" in line.message
    assert "s3://upload-bucket/runs/demo/run.json version v1" in line.message
    assert public_address("us-east-1", any_spec(plan.model_id).hosting_eula_key or "") in line.message


def test_a_stage_that_does_not_train_refuses_data_first() -> None:
    plan, findings = planned(accepted(hyperparameters={"epoch": 0}), stage=any_stage(stage="prod", training=False))
    assert [(each.code, each.field) for each in findings] == [
        ("TRAINING_DISABLED", ""),
        ("HYPERPARAMETER_INVALID", "hyperparameters.epoch"),
    ]
    assert [line.check for line in plan.checks if line.ok is False] == ["stage", "hyperparameters"]
    assert findings[0].message == "The stage prod does not train models."


def test_a_run_that_promotes_a_model_is_not_planned_as_a_training() -> None:
    model = "arn:aws:sagemaker:us-east-1:111122223333:model-package/finetune-dev-faq/3"
    plan, (finding,) = planned(accepted(promote=model))
    assert [line.check for line in plan.checks if line.ok is False] == ["stage"]
    assert (finding.code, finding.field) == ("RUN_JSON_INVALID", "promote")
    assert f"finetune promote {model}" in finding.fix


def test_the_plan_keeps_of_the_data_what_estimates_and_the_evaluation_need() -> None:
    report = any_dataset()
    rows = report.rows.model_copy(update={"test": 7})
    assert summary_of(report.model_copy(update={"rows": rows}), {"data.jsonl": "ab"}) == DatasetSummary(
        train_rows=38,
        validation_rows=2,
        test_rows=7,
        train_tokens=2_798,
        tokens_from="counted with the tokenizer of Llama 3.1",  # pragma: allowlist secret
        sha256={"data.jsonl": "ab"},
    )
