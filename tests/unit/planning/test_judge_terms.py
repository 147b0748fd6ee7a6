"""A judge in the plan: who may have one, and what it costs."""

from typing import Any

import pytest

from finetuning.datasets.tokens import assumed_tokens
from finetuning.errors import Code, Finding
from finetuning.evaluation.judging import INSTRUCTION
from finetuning.jumpstart.catalogue import support
from finetuning.planning.evaluation_terms import settled
from finetuning.runs.asking_limits import ANSWER_TOKENS, INSTRUCTION_TOKENS, JUDGE_TOKENS
from finetuning.runs.plan import DatasetSummary, EvaluationEstimate, RunPlan
from tests.builders.jumpstart import LLAMA, any_stage, planned

PRO, PROFILE = "amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"
OTHER = "amazon.nova-lite-v1:0"
UNPRICED = "example.unknown-v1:0"
JUDGED = any_stage(judge_models=(PRO, PROFILE, UNPRICED))


def judged(judge: str = PRO, **evaluation: Any) -> tuple[RunPlan, list[Finding]]:
    run = {"accept_eula": True, "model": LLAMA + "8b-instruct"}
    return planned({**run, "evaluation": {"judge": judge, **evaluation}}, stage=JUDGED)


def figures(plan: RunPlan) -> EvaluationEstimate:
    assert plan.evaluation.estimate is not None
    return plan.evaluation.estimate


def test_there_is_no_judge_unless_run_json_names_one() -> None:
    plan, findings = planned({"accept_eula": True}, stage=JUDGED)
    assert (plan.evaluation.judge, findings) == (None, [])
    assert (figures(plan).judge_usd, figures(plan).judge_usd_at_most) == (0, 0)
    assert "judge" not in {check.check for check in plan.checks}


def test_a_judge_costs_two_questions_for_each_prompt_and_twice_that_at_most() -> None:
    plan, findings = judged(prompts=200)
    known = figures(plan)
    assert findings == []
    read = INSTRUCTION_TOKENS + 2_000 + 2 * ANSWER_TOKENS
    usd = 2 * 200 * (read * 0.8 + JUDGE_TOKENS * 3.2) / 1e6
    assert (known.judge_usd, known.judge_usd_at_most) == (round(usd, 2), round(2 * usd, 2)) == (0.89, 1.78)
    assert known.total_usd == pytest.approx((known.usd or 0) + 0.89)
    assert known.total_usd_at_most == pytest.approx((known.usd_at_most or 0) + 1.78)
    assert known.assumptions[-1].startswith(
        f"400 questions to the judge {PRO} of about 2,712 tokens (200 of instruction"
    )
    assert known.assumptions[-1].endswith("(the table of prices in LiteLLM 1.110.2, for us-east-1)")


def test_once_the_rows_are_known_their_mean_is_read() -> None:
    plan, _ = judged(prompts=200)
    dataset = DatasetSummary(train_rows=1_000, validation_rows=50, train_tokens=150_000)
    done = settled(plan.evaluation, support(plan.model_id), plan.endpoint, plan.training, dataset)
    assert done.estimate
    assert done.estimate.prompts == 50
    assert "100 questions" in done.estimate.assumptions[-1]
    assert "150 of prompt and reference, the mean of the rows" in done.estimate.assumptions[-1]
    assert done.estimate.judge_usd == round(100 * ((200 + 150 + 512) * 0.8 + 16 * 3.2) / 1e6, 2)


@pytest.mark.parametrize(
    ("hyperparameters", "tokens"),
    [({"max_input_length": "512"}, 512), ({"max_input_length": "-1"}, 1_024), ({}, 1_024)],
)
def test_until_the_rows_are_known_the_longest_of_the_training_is_read(
    hyperparameters: dict[str, str], tokens: int
) -> None:
    plan, _ = judged(prompts=200)
    first = plan.training.options[0].model_copy(update={"hyperparameters": hyperparameters})
    training = plan.training.model_copy(update={"options": [first, *plan.training.options[1:]]})
    done = settled(plan.evaluation, support(plan.model_id), plan.endpoint, training)
    assert done.estimate
    assert f"{tokens:,} of prompt and reference, the longest row that is trained on" in done.estimate.assumptions[-1]


def test_a_price_that_is_not_known_is_said_and_makes_the_total_unknown() -> None:
    known = figures(judged(UNPRICED)[0])
    assert (known.judge_usd, known.judge_usd_at_most, known.total_usd, known.total_usd_at_most) == (None,) * 4
    assert known.usd is not None
    assert known.assumptions[-1].endswith("unknown price")


def test_the_instruction_is_no_longer_than_the_plan_counts() -> None:
    assert INSTRUCTION_TOKENS / 2 < assumed_tokens(len(INSTRUCTION)) <= INSTRUCTION_TOKENS


@pytest.mark.parametrize("model", ["8b-instruct", "70b"])
def test_a_judge_needs_the_base_model_whatever_it_costs(model: str) -> None:
    run = {"accept_eula": True, "model": LLAMA + model, "evaluation": {"judge": PRO}}
    plan, findings = planned(run, stage=JUDGED)
    assert findings == []
    assert plan.evaluation.compare_with_base
    assert not plan.evaluation.compared_by_cost


def test_the_check_says_where_the_answers_go() -> None:
    (here,) = [check for check in judged(PRO)[0].checks if check.check == "judge"]
    (anywhere,) = [check for check in judged(PROFILE)[0].checks if check.check == "judge"]
    assert here.message == f"{PRO}: prompts, references and answers are sent to Bedrock in us-east-1"
    assert anywhere.message.endswith("Bedrock in us-east-1 and in the other regions of this inference profile")


def test_a_stage_without_judges_refuses_one() -> None:
    _, (finding,) = planned({"accept_eula": True, "evaluation": {"judge": PRO}})
    assert (finding.code, finding.field) == (Code.JUDGE_NOT_ALLOWED, "evaluation.judge")
    assert finding.message == "The stage dev allows no judge."
    assert finding.fix == f"Deploy it with `-c judge_models={PRO}`, or remove evaluation.judge."


def test_another_judge_than_the_stage_allows_is_refused() -> None:
    stage = any_stage(judge_models=(PROFILE, OTHER))
    _, (finding,) = planned({"accept_eula": True, "evaluation": {"judge": PRO}}, stage=stage)
    assert finding.message == f"The stage dev allows the judges {PROFILE}, {OTHER} only, not {PRO}."
    assert finding.fix == (
        f"Name one of them; or deploy it with `-c judge_models={PROFILE},{OTHER},{PRO}`, or remove evaluation.judge."
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"evaluation": {"judge": PRO, "compare_with_base": False}}, "evaluation.compare_with_base is false"),
        ({"evaluation": {"judge": PRO}, "endpoint": {"deploy": False}}, "endpoint.deploy is false"),
    ],
)
def test_a_judge_with_nothing_to_compare_is_refused(fields: dict[str, Any], reason: str) -> None:
    _, (finding,) = planned({"accept_eula": True, **fields}, stage=JUDGED)
    assert (finding.code, finding.field) == (Code.RUN_JSON_INVALID, "evaluation.judge")
    assert f"but {reason}, so that" in finding.message


def test_a_gate_brings_the_base_model_for_the_judge() -> None:
    _, findings = judged(must_beat_base=True, compare_with_base=False)
    assert findings == []


@pytest.mark.parametrize("judge", ["nova", "arn:aws:bedrock:us-east-1::foundation-model/x.y", "Amazon.Nova", "a.b*"])
def test_what_is_no_id_of_a_model_is_refused_by_its_field(judge: str) -> None:
    _, (finding,) = judged(judge)
    assert (finding.code, finding.field) == (Code.RUN_JSON_INVALID, "evaluation.judge")
