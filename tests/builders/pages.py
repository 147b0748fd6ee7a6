"""Builders of report pages."""

import random
from collections.abc import Callable
from typing import Any

from finetuning.datasets.dataset_report import FileReport, Refusal
from finetuning.datasets.shard_result import LineError
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.questions import Question
from finetuning.evaluation.results import EvaluationReport
from finetuning.evaluation.run_comparison import compare_runs
from finetuning.report import comparison_page
from finetuning.report.page import render
from finetuning.runs.status import Check, Cost, Event, Metric, RunState, RunStatus, Verdict
from tests.builders.answers import any_evaluated_run, evaluated, right, wrong
from tests.builders.runs import (
    START,
    any_dataset,
    any_evaluation,
    any_failed_status,
    any_plan,
    any_refusal,
    any_status,
    at,
)

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"' onload=alert(1) {{ 7*7 }} \x1b[2J\u202egnp\x00"
"""Text that is markup, a template, control characters and a reversed direction at once."""


def hostile_page() -> str:
    """The report page of a failed run in which every text is hostile."""
    status = any_failed_status(
        step=HOSTILE,
        judgement=HOSTILE,
        error={"code": HOSTILE, "message": HOSTILE, "fix": HOSTILE},
        events=[Event(time=START, step=HOSTILE, message=HOSTILE)],
        checks=[Check(check=HOSTILE, ok=False, message=HOSTILE, code=HOSTILE, field=HOSTILE, fix=HOSTILE)],
        links={HOSTILE: "https://example.com/" + HOSTILE, "bad": "javascript:alert(1)"},
    )
    evaluation = any_evaluation()
    row = evaluation.rows[0]
    answer = row.tuned.model_copy(update={"text": HOSTILE})
    hostile_row = row.model_copy(update={"prompt": HOSTILE, "reference": HOSTILE, "tuned": answer, "base": answer})
    evaluation = evaluation.model_copy(update={"rows": [hostile_row], "notes": [HOSTILE]})
    dataset = any_dataset(
        files=[FileReport(path=HOSTILE, format=None, compressed=False, shape=HOSTILE, why=HOSTILE)],
        task_reason=HOSTILE,
        errors=[
            LineError(file=HOSTILE, line=1, path=HOSTILE, code=HOSTILE, message=HOSTILE, fix=HOSTILE, snippet=HOSTILE)
        ],
        error_counts={HOSTILE: 1},
        ignored_columns={HOSTILE: 1},
        notes=[HOSTILE],
        samples=[HOSTILE],
        refusal=Refusal(code=HOSTILE, message=HOSTILE, fix=HOSTILE),
    )
    return render(status, stage="dev", plan=any_plan(task=None), evaluation=evaluation, dataset=dataset)


LOG = ["Epoch 1:  12%|#2        | 31/256", "RuntimeError: CUDA out of memory. Tried to allocate 2.50 GiB (GPU 0)"]


def any_words(seed: int, length: int) -> list[str]:
    """Words of two syllables that hardly repeat, the same for the same seed."""
    syllables = ("ta", "mo", "ri", "ne", "sul", "ka", "ver", "du", "lin", "pho", "gre", "sti", "ban", "o", "wy")
    generator = random.Random(seed)
    return ["".join(generator.choices(syllables, k=2)) for _ in range(length)]


def any_long_evaluation(share: float) -> EvaluationReport:
    """Ten held-out prompts with answers of real length: the tuned model's repeat this share of the reference's words,
    more or less, the base model's a fifth.
    """
    questions = [
        Question(
            shown=" ".join(any_words(n, 14)),
            inputs=str(n),
            source="held-out",
            reference=" ".join(any_words(100 + n, 90)),
        )
        for n in range(10)
    ]

    def answering(kept: float, seed: int) -> Callable[[str], Reply]:
        def ask(inputs: str) -> Reply:
            number = int(inputs)
            known = round(90 * kept) + (number * seed) % 17 - 8
            words = [*any_words(100 + number, 90)[:known], *any_words(seed + number, 90 - known)]
            return Reply(" ".join(words), 1_800, finished=True)

        return ask

    return evaluated(questions, answering(share, 307), answering(0.2, 501))


def any_checks(*failed: Check) -> list[Check]:
    names = ("upload", "model", "task", "hyperparameters", "instance types", "quotas", "price", "run time", "names")
    passed = [Check(check=name, ok=True, message=f"The {name} of this run can be used as planned.") for name in names]
    return [*passed, Check(check="capacity", ok=None, message="AWS has no call that tells"), *failed]


def any_good_status(**changes: Any) -> RunStatus:
    """A run of the size that people look at: steps, checks and a loss for each of three epochs."""
    links = {
        title: f"https://us-east-1.console.aws.amazon.com/{title.replace(' ', '-')}"
        for title in ("Execution", "Files", "Training job", "Training log", "Endpoint")
    }
    return any_status(checks=any_checks(), links=links, **changes)


def any_step_metrics() -> list[Metric]:
    """Losses of a job that reports every few steps: the validation loss less often."""
    training = [Metric(name="train-loss", value=0.6 + 3 / (1 + n / 4), time=at(300 + 60 * n)) for n in range(40)]
    validation = [Metric(name="eval-loss", value=0.8 + 2.5 / (1 + n), time=at(900 + 600 * n)) for n in range(4)]
    return [*training, *validation]


def any_page(kind: str) -> str:
    """The page of a run: "helped", "no change", "data refused", "licence refused", "job failed", "no evaluation"."""
    plan, dataset = any_plan(), any_dataset()
    match kind:
        case "helped":
            status, evaluation = any_good_status(verdict=Verdict.HELPED), any_long_evaluation(0.8)
            return render(status, stage="dev", plan=plan, evaluation=evaluation, dataset=dataset)
        case "no change":
            status, evaluation = any_good_status(verdict=Verdict.NO_CHANGE), any_long_evaluation(0.25)
            return render(status, stage="dev", plan=plan, evaluation=evaluation, dataset=dataset)
        case "no evaluation":
            status = any_good_status(metrics=any_step_metrics())
            return render(status, stage="dev", plan=plan, dataset=dataset)
        case "data refused":
            refusal = any_refusal()
            error = {"code": "DATASET_REFUSED", "message": refusal.message, "fix": refusal.fix}
            status = any_failed_status(error=error, checks=any_checks())
            return render(status, stage="dev", plan=plan, dataset=any_dataset(refusal=refusal))
        case "licence refused":
            return render(any_licence_refusal(), stage="dev", docs_url="https://git.example.com/finetune/docs")
    failure: dict[str, Any] = {
        "code": "TRAINING_OUT_OF_MEMORY",
        "message": "The GPUs ran out of memory: the batch is too large or the rows are too long.",
        "fix": "Lower per_device_train_batch_size or max_input_length.",
        "log": LOG,
    }
    status = any_good_status(state=RunState.FAILED, step="DescribeTraining", endpoint="", error=failure, metrics=[])
    status = status.model_copy(update={"events": status.events[:4], "cost": Cost(estimate_usd=41.2, actual_usd=3.1)})
    return render(status, stage="dev", plan=plan, dataset=dataset)


def any_comparison_page() -> str:
    """The page of two runs, of which the second is better."""
    first = any_evaluated_run("pirate-0a1b2c3d", wrong)
    second = any_evaluated_run("pirate-4e5f6a7b", right, plan={"model_version": "3.0.0"})
    return comparison_page.render(compare_runs(first, second), first, second)


def any_licence_refusal() -> RunStatus:
    message, fix = "Meta's licence of Llama 3.1 is not accepted.", 'Read it, then set "accept_eula": true in run.json.'
    finding = {"code": "EULA_NOT_ACCEPTED", "field": "accept_eula", "message": message, "fix": fix}
    failed = Check(check="licence", ok=False, **finding)
    error = {"code": "RUN_REFUSED", "message": message, "fix": fix, "findings": [finding]}
    links = {"Execution": "https://us-east-1.console.aws.amazon.com/states/home"}
    return any_failed_status(step="PlanRun", error=error, checks=any_checks(failed), links=links, cost=Cost())


PAGES = ("helped", "no change", "data refused", "licence refused", "job failed", "no evaluation")
