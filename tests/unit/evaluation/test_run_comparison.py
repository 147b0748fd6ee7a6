"""Two runs on the same held-out rows: which is better, and what differs."""

from dataclasses import replace
from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.run_comparison import compare_runs
from finetuning.runs.status import Cost, Rung, Verdict
from tests.builders.answers import HELD_OUT, REFERENCES, any_evaluated_run, evaluated, right, wrong
from tests.builders.runs import any_plan, any_status


def half_right(inputs: str) -> Reply:
    return right(inputs) if int(inputs.split()[1]) % 2 else wrong(inputs)


def test_the_run_with_the_better_answers_is_named_with_its_interval() -> None:
    compared = compare_runs(any_evaluated_run("pirate-1", wrong), any_evaluated_run("pirate-2", right))
    assert compared.headline == "pirate-2 is better than pirate-1"
    assert (compared.comparison.prompts, compared.comparison.better, compared.comparison.worse) == (24, 24, 0)
    assert (compared.second.mean, compared.second.low, compared.second.high) == (1.0, 1.0, 1.0)
    assert compared.first.mean < 0.2
    assert compared.comparison.gain == pytest.approx(1 - compared.first.mean, abs=0.001)
    assert compared.summary.startswith(f"{compared.headline}: ROUGE-L {compared.first.mean:.2f} → 1.00 (scale 0 to 1)")
    assert compared.first.verdict is Verdict.NOT_COMPARED


def test_the_order_of_the_runs_is_that_of_the_question() -> None:
    compared = compare_runs(any_evaluated_run("pirate-1", right), any_evaluated_run("pirate-2", half_right))
    assert compared.headline == "pirate-2 is worse than pirate-1"
    assert compared.second.low is not None
    assert compared.second.high is not None
    assert compared.second.low < compared.second.mean < compared.second.high


def test_a_difference_that_may_be_chance_is_none() -> None:
    def almost(inputs: str) -> Reply:
        return wrong(inputs) if inputs.split()[1] == "3" else right(inputs)

    compared = compare_runs(any_evaluated_run("pirate-1", right), any_evaluated_run("pirate-2", almost))
    assert compared.headline == "No measurable difference between pirate-1 and pirate-2"


def test_with_few_rows_nothing_can_be_said() -> None:
    few = [any_evaluated_run(name, ask, HELD_OUT[:4]) for name, ask in (("pirate-1", wrong), ("pirate-2", right))]
    compared = compare_runs(*few)
    assert compared.headline == "Too few prompts to tell pirate-1 and pirate-2 apart"
    assert compared.second.low is None


def test_only_rows_that_both_models_answered_count() -> None:
    def silent(inputs: str) -> Reply:
        return Reply("", 5, error="unavailable") if inputs.split()[1] == "0" else wrong(inputs)

    compared = compare_runs(any_evaluated_run("pirate-1", silent), any_evaluated_run("pirate-2", right))
    assert compared.comparison.prompts == 23
    assert (compared.first.unusable, compared.first.answers) == (1, 24)


def test_a_run_that_was_asked_fewer_of_the_rows_is_compared_on_these() -> None:
    compared = compare_runs(any_evaluated_run("pirate-1", wrong, HELD_OUT[:10]), any_evaluated_run("pirate-2", right))
    assert compared.comparison.prompts == 10


def test_other_held_out_rows_are_refused_with_the_numbers() -> None:
    ours, theirs = (
        any_evaluated_run("pirate-1", wrong, HELD_OUT[:20]),
        any_evaluated_run("pirate-2", right, HELD_OUT[5:]),
    )
    with pytest.raises(FineTuningError) as refused:
        compare_runs(ours, theirs)
    assert refused.value.code == Code.RUNS_NOT_COMPARABLE
    assert refused.value.message == (
        "The runs held out different rows: 5 of the 20 held-out prompts of pirate-1 are not among the 19 of pirate-2."
    )
    assert "the same data" in refused.value.fix


def test_the_same_prompt_with_another_answer_is_another_row() -> None:
    changed = [question.model_copy(update={"reference": "Aye"}) for question in HELD_OUT]
    with pytest.raises(FineTuningError, match="24 of the 24 held-out prompts"):
        compare_runs(any_evaluated_run("pirate-1", wrong), any_evaluated_run("pirate-2", right, changed))


def test_a_run_without_held_out_rows_is_refused_by_name() -> None:
    own = [question.model_copy(update={"source": "run.json"}) for question in HELD_OUT]
    with pytest.raises(FineTuningError, match="The run pirate-2 was asked no held-out row"):
        compare_runs(any_evaluated_run("pirate-1", wrong), any_evaluated_run("pirate-2", right, own))


def trained(run_id: str, **changes: Any) -> dict[str, Any]:
    """Changes to a plan whose runs trained with other hyperparameters."""
    plan = any_plan(run_id=run_id).model_dump(mode="json")
    for option in plan["training"]["options"]:
        option["hyperparameters"] |= changes
    return {"training": plan["training"]}


def test_only_settings_that_differ_are_listed() -> None:
    ours = any_evaluated_run("pirate-1", wrong, plan=trained("pirate-1", learning_rate="0.0001"))
    theirs = any_evaluated_run("pirate-2", right, plan=trained("pirate-2", learning_rate="0.001", lora_r="16"))
    listed = [(each.setting, each.first, each.second) for each in compare_runs(ours, theirs).differences]
    assert listed == [("hyperparameters.learning_rate", "0.0001", "0.001"), ("hyperparameters.lora_r", "", "16")]


def test_data_and_type_are_settings_too() -> None:
    rung = Rung(attempt=1, instance_type="ml.g5.48xlarge", job_name="j", time=any_status().started_at)
    dataset = {"train_rows": 90, "validation_rows": 24, "train_tokens": 9, "sha256": {"data.jsonl": "ab" * 32}}
    ours = any_evaluated_run("pirate-1", wrong)
    theirs = any_evaluated_run("pirate-2", right, plan={"dataset": dataset})
    theirs = replace(theirs, status=theirs.status.model_copy(update={"ladder": [rung]}))
    listed = {each.setting: (each.first, each.second) for each in compare_runs(ours, theirs).differences}
    assert listed == {
        "training.instance_type": ("ml.p4d.24xlarge", "ml.g5.48xlarge"),
        "training rows": ("", "90"),
        "training data": ("", "data.jsonl abababababab"),
    }


def test_the_cost_is_what_was_billed_or_else_the_estimate() -> None:
    ours = any_evaluated_run("pirate-1", wrong)
    theirs = replace(
        any_evaluated_run("pirate-2", right),
        status=any_status(run_id="pirate-2", cost=Cost(estimate_usd=41.2)),
    )
    compared = compare_runs(ours, theirs)
    assert (compared.first.training_usd, compared.first.training_usd_is_estimate) == (38.75, False)
    assert (compared.second.training_usd, compared.second.training_usd_is_estimate) == (41.2, True)
    assert compared.first.comparison_usd == 28.9
    assert [each.in_words for each in compared.first.losses] == [
        "training loss 4.05 → 0.73",
        "validation loss 3.71 → 0.81",
    ]


def test_labels_are_compared_by_accuracy() -> None:
    labelled = [
        question.model_copy(update={"reference": "yes" if n % 2 else "no"}) for n, question in enumerate(HELD_OUT)
    ]
    ours, theirs = (
        replace(any_evaluated_run(name, right), report=evaluated(labelled, lambda inputs, said=said: Reply(said, 1)))
        for name, said in (("pirate-1", "yes"), ("pirate-2", "maybe"))
    )
    compared = compare_runs(ours, theirs)
    assert compared.comparison.measure == "accuracy"
    assert (compared.first.mean, compared.second.mean) == (0.5, 0.0)
    assert len(REFERENCES) == compared.comparison.prompts
