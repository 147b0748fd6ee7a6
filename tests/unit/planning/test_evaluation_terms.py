"""What an evaluation takes and costs, and whether the base model is asked where run.json does not say."""

import math
from dataclasses import replace
from typing import Any

import pytest

from finetuning.jumpstart.assumptions import assumptions
from finetuning.jumpstart.catalogue import support
from finetuning.planning.evaluation_terms import estimate, settled, without_comparison
from finetuning.planning.planner import complete
from finetuning.runs.plan import DatasetSummary, EvaluationEstimate, EvaluationPlan, RunPlan
from tests.builders.jumpstart import LLAMA, any_spec, any_stage, planned

SMALL, LARGE = LLAMA + "8b-instruct", LLAMA + "70b"


def plan_of(size: int = 100_000, model: str = SMALL, **fields: Any) -> RunPlan:
    plan, findings = planned({"accept_eula": True, "model": model, **fields}, size=size)
    assert findings == []
    return plan


def evaluation_of(**how: Any) -> EvaluationPlan:
    return plan_of(**how).evaluation


def figures(evaluation: EvaluationPlan) -> EvaluationEstimate:
    assert evaluation.estimate is not None
    return evaluation.estimate


def test_time_is_start_up_plus_rounds_of_answers_and_cost_is_that_of_the_temporary_endpoint() -> None:
    known = figures(evaluation_of())
    # 256 tokens × 16.06 GB ÷ (half of 600 GB/s) = 13.7 s for an answer; ten of the 100 at a time; 2.03 USD an hour.
    assert (known.prompts, known.temporary_endpoints) == (100, 1)
    assert known.seconds == 600 + 137
    assert known.usd == 0.42
    assert (known.hours_at_most, known.usd_at_most) == (3.25, 6.60), "the sweeper's time, every 15 minutes"
    text = "; ".join(known.assumptions)
    source = f"(assumed {assumptions().as_of}, not measured)"
    assert text == (
        f"600 s until an endpoint serves {source}; 100 prompts, 10 at a time, 13.7 s for an answer of 256 tokens at "
        f"18.7 tokens/s on ml.g5.4xlarge {source}; 1 temporary endpoint of 1 × 2.03 USD per hour"
    )


def test_each_temporary_endpoint_and_each_of_its_instances_is_counted() -> None:
    one, gated = figures(evaluation_of()), figures(evaluation_of(evaluation={"must_beat_base": True}))
    assert gated.temporary_endpoints == 2
    assert (one.usd, gated.usd) == (0.42, 0.83)
    assert gated.assumptions[-1] == "2 temporary endpoints of 1 × 2.03 USD per hour"
    assert figures(evaluation_of(model=LARGE, evaluation={"must_beat_base": True})).usd == 38.69
    fleet = figures(evaluation_of(endpoint={"instance_count": 3}, evaluation={"compare_with_base": True}))
    assert fleet.usd_at_most == pytest.approx(3 * (one.usd_at_most or 0), abs=0.02)


def test_the_worst_case_is_that_of_the_dearest_type_it_may_stand_on() -> None:
    known = figures(evaluation_of(endpoint={"fallback_instance_types": ["ml.g5.48xlarge"]}))
    assert (known.usd, known.usd_at_most) == (0.42, round(20.36 * 3.25, 2))


def test_without_the_base_model_only_the_live_endpoint_is_asked() -> None:
    known = figures(evaluation_of(evaluation={"compare_with_base": False}))
    assert (known.temporary_endpoints, known.usd, known.usd_at_most) == (0, 0, 0)
    assert known.seconds == 737
    assert known.assumptions[-1] == "no temporary endpoint"


def test_an_evaluation_without_prompts_asks_one() -> None:
    known = figures(evaluation_of(evaluation={"prompts": 0}))
    assert (known.prompts, known.seconds) == (1, 614)
    assert known.assumptions[1].startswith("1 prompt, 10 at a time, ")


def test_an_answer_takes_no_longer_than_sagemaker_allows() -> None:
    endpoint = plan_of().endpoint.model_copy(update={"instance_type": "ml.inf2.xlarge"})
    unknown = estimate(10, support(SMALL), endpoint, temporary=1)
    slow = estimate(10, support(LARGE), plan_of().endpoint, temporary=1)
    assert (unknown.seconds, slow.seconds) == (600 + 60, 2700 + 60)
    assert "60 s for an answer, the longest that SageMaker allows" in unknown.assumptions[1]


def test_fp8_weights_are_read_twice_as_fast() -> None:
    model = support(LLAMA + "405b-fp8")
    assert replace(model, model_id=LLAMA + "405b").gigabytes == 2 * model.gigabytes == 811.8


def test_the_base_model_is_asked_by_default_where_that_is_cheap() -> None:
    evaluation = evaluation_of()
    assert (evaluation.compare_with_base, evaluation.not_compared) == (True, "")


def test_a_dear_comparison_is_not_made_by_default_and_the_plan_says_why() -> None:
    evaluation = evaluation_of(model=LARGE)
    assert not evaluation.compare_with_base
    assert evaluation.not_compared.startswith("it would cost about 19.34 USD, more than 2 USD and more than a tenth")
    assert figures(evaluation).temporary_endpoints == 0


def objection(training_usd: float | None, *, usd_per_hour: float, budget: float | None = None) -> str:
    """Against a comparison on an endpoint of that price, which takes 737 seconds."""
    plan = plan_of()
    (first, *_) = plan.training.options
    paid = first.model_copy(update={"estimate": first.estimate.model_copy(update={"usd": training_usd})})
    training = plan.training.model_copy(update={"options": [paid], "max_cost_usd": budget})
    endpoint = plan.endpoint.model_copy(update={"usd_per_hour": usd_per_hour})
    return settled(plan.evaluation, support(SMALL), endpoint, training).not_compared


def test_a_comparison_of_2_usd_is_made_and_a_dearer_one_is_compared_with_the_training() -> None:
    assert objection(None, usd_per_hour=9.77) == ""  # 2.00 USD
    dear = "it would cost about 2.05 USD, more than 2 USD and more than a tenth of the training"
    assert objection(None, usd_per_hour=10) == dear
    assert objection(20.0, usd_per_hour=10) == f"{dear} (20.00 USD)"
    assert objection(21.0, usd_per_hour=10) == ""


def test_a_comparison_may_use_up_the_limit_of_cost() -> None:
    assert objection(1.0, usd_per_hour=2.03, budget=1.42) == ""
    assert objection(1.0, usd_per_hour=2.03, budget=1.41).startswith(
        "training and comparison would cost about 1.42 USD"
    )


def test_a_comparison_that_costs_a_tenth_of_the_training_is_made() -> None:
    evaluation = evaluation_of(model=LARGE, size=1_500_000)
    assert evaluation.compare_with_base
    assert (figures(evaluation).usd or 0) > 2


@pytest.mark.parametrize("wanted", [True, False])
def test_run_json_has_the_last_word(wanted: bool) -> None:
    evaluation = evaluation_of(model=LARGE if wanted else SMALL, evaluation={"compare_with_base": wanted})
    assert evaluation.compare_with_base is wanted
    assert evaluation.not_compared == ("" if wanted else "compare_with_base is false in run.json")


def test_a_gate_needs_the_base_model_whatever_it_costs() -> None:
    evaluation = evaluation_of(model=LARGE, evaluation={"must_beat_base": True, "compare_with_base": False})
    assert (evaluation.compare_with_base, evaluation.not_compared) == (True, "")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"evaluation": {"prompts": 0}}, "no held-out rows are asked, so there is nothing to compare"),
        (
            {"training": {"max_cost_usd": 2.0}},
            "training and comparison would cost about 2.40 USD together, more than max_cost_usd (2.00 USD)",
        ),
    ],
)
def test_other_reasons_against_a_comparison_nobody_asked_for(fields: dict[str, Any], reason: str) -> None:
    evaluation = evaluation_of(**fields)
    assert not evaluation.compare_with_base
    assert evaluation.not_compared == reason


def test_without_a_price_nothing_is_compared_by_default() -> None:
    plan = plan_of()
    endpoint = plan.endpoint.model_copy(update={"usd_per_hour": None})
    evaluation = settled(plan.evaluation, support(SMALL), endpoint, plan.training)
    assert evaluation.not_compared == "the price of ml.g5.4xlarge is not known"
    asked_for = plan.evaluation.model_copy(update={"compared_by_cost": False})
    known = figures(settled(asked_for, support(SMALL), endpoint, plan.training))
    assert (known.temporary_endpoints, known.usd, known.usd_at_most) == (1, None, None)


def test_a_run_without_an_endpoint_is_not_evaluated() -> None:
    evaluation = evaluation_of(endpoint={"deploy": False})
    assert (evaluation.compare_with_base, evaluation.estimate) == (False, None)


def completed(plan: RunPlan, **rows: int) -> EvaluationPlan:
    counts = {"train_rows": 90, "validation_rows": 0, "train_tokens": 30_000, **rows}
    return complete(plan, any_spec(plan.model_id), "chat", DatasetSummary.model_validate(counts)).evaluation


def test_the_prepared_data_says_how_many_prompts_there_are() -> None:
    own = plan_of(evaluation={"prompts": ["Ahoy?", "Where to?"]})
    assert figures(completed(own, validation_rows=7, test_rows=4)).prompts == 13
    assert figures(completed(own, validation_rows=700)).prompts == 102


def test_data_without_held_out_rows_is_not_compared() -> None:
    evaluation = completed(plan_of())
    assert evaluation.not_compared == "no held-out rows are asked, so there is nothing to compare"
    assert figures(evaluation).temporary_endpoints == 0


def test_a_comparison_that_the_quota_ruled_out_does_not_come_back() -> None:
    plan = without_comparison(plan_of(), "the quota has no room for a second endpoint.")
    evaluation = completed(plan, validation_rows=9)
    assert not evaluation.compare_with_base
    assert evaluation.not_compared == "the quota has no room for a second endpoint."
    assert (figures(evaluation).prompts, figures(evaluation).usd) == (9, 0)


def test_a_comparison_that_was_asked_for_is_ruled_out_too() -> None:
    plan = plan_of(evaluation={"compare_with_base": True})
    assert plan.evaluation.compare_with_base
    assert not without_comparison(plan, "no room").evaluation.compare_with_base


def test_the_plan_of_an_earlier_version_is_completed_as_it_was() -> None:
    plan = plan_of(model=LARGE)
    earlier = {"held_out": 5, "prompts": [], "compare_with_base": True}
    plan = plan.model_copy(update={"evaluation": EvaluationPlan.model_validate(earlier)})
    assert completed(plan, validation_rows=9).compare_with_base


IMPORTING = {"target": "bedrock"}


def imported(**evaluation: Any) -> EvaluationEstimate:
    asked = {"accept_eula": True, "model": SMALL, "endpoint": IMPORTING, "evaluation": evaluation}
    plan, findings = planned(asked, stage=any_stage(bedrock_import=True))
    assert findings == []
    return figures(plan.evaluation)


def test_an_imported_model_is_paid_for_the_windows_in_which_it_is_asked_and_one_more() -> None:
    known = imported(compare_with_base=False)
    # 10 rounds of 13.7 s are 137 s, one window of five minutes, at most 600 s, two; and one without calls.
    assert (known.temporary_endpoints, known.seconds, known.usd) == (0, 137, 0)
    assert (known.import_usd, known.import_usd_at_most) == (round(2 * 0.5718, 2), round(3 * 0.5718, 2))
    assert (known.total_usd, known.total_usd_at_most) == (1.14, 1.72)
    text = "; ".join(known.assumptions)
    assert "2 windows of 5 minutes of the imported model, 0.57 USD each" in text
    assert "without the time of the import" in text
    assert imported(compare_with_base=False, prompts=1000).import_usd == round((math.ceil(1365 / 300) + 1) * 0.5718, 2)
    assert imported(compare_with_base=False, prompts=220).import_usd == round(3 * 0.5718, 2), "22 rounds take 300.3 s"


def test_an_imported_model_is_compared_with_the_base_model_on_one_endpoint_even_for_a_gate() -> None:
    for asked in ({"compare_with_base": True}, {"must_beat_base": True}):
        known = imported(**asked)
        assert (known.temporary_endpoints, known.seconds) == (1, 737)
        assert (known.usd, known.total_usd) == (0.42, pytest.approx(0.42 + 1.14))


def test_an_import_of_unknown_price_has_no_total() -> None:
    endpoint = plan_of().endpoint.model_copy(update={"target": "bedrock", "import_price": None})
    known = estimate(10, support(SMALL), endpoint, temporary=0)
    assert (known.import_usd, known.import_usd_at_most, known.total_usd, known.total_usd_at_most) == 4 * (None,)
    assert "unknown price of the imported model" in known.assumptions


def test_the_use_of_an_imported_model_does_not_speak_against_the_comparison() -> None:
    """It is paid whether the base model is asked or not."""
    plan, _ = planned(
        {"accept_eula": True, "model": SMALL, "endpoint": IMPORTING, "evaluation": {"prompts": 1000}},
        stage=any_stage(bedrock_import=True),
    )
    known = figures(plan.evaluation)
    assert known.usd is not None
    assert known.usd < 2 < (known.total_usd or 0)
    assert plan.evaluation.compare_with_base


@pytest.mark.parametrize(("budget", "compared"), [(3.4, True), (3.3, False)])
def test_a_budget_has_room_for_training_comparison_and_the_use_of_the_import(budget: float, compared: bool) -> None:
    """About 1.78 USD of training, 0.42 of the base model's endpoint, and 1.14 of the imported model."""
    asked = {"accept_eula": True, "model": SMALL, "endpoint": IMPORTING, "training": {"max_cost_usd": budget}}
    plan, findings = planned(asked, stage=any_stage(bedrock_import=True), size=1000)
    assert findings == []
    known = figures(plan.evaluation)
    assert plan.training.estimate.usd is not None
    assert plan.training.estimate.usd + 0.42 < budget
    assert (plan.evaluation.compare_with_base, known.import_usd) == (compared, 1.14)
