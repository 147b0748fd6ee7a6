"""Builders of runs for tests: the status, plan, evaluation and dataset report of a run with chat data."""

from datetime import UTC, datetime, timedelta
from typing import Any

from finetuning.datasets.dataset_report import (
    Bucket,
    DatasetReport,
    FileReport,
    LongRow,
    Refusal,
    Rows,
    Statistics,
)
from finetuning.datasets.shard_result import LineError
from finetuning.evaluation.results import Answer, Comparison, EvaluationReport, Row, Scores, SmokeCheck, Summary
from finetuning.jumpstart.family import Task
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import Check, Cost, Event, Metric, RunState, RunStatus
from finetuning.runs.waiting import has_next_attempt, patient_pause

RUN_ID = "pirate-0a1b2c3d"
START = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def most_attempts(rungs: int, hours: float) -> int:
    """The highest number of an attempt that a run can have: that of the last one if AWS rejects each at once."""
    attempt, elapsed = 0, 0.0
    while has_next_attempt(attempt, rungs, elapsed, hours):
        elapsed += patient_pause(elapsed)
        attempt += 1
    return attempt


def any_status(**changes: Any) -> RunStatus:
    """The status of a successful run."""
    losses = [(4.05, 3.71), (2.10, 1.90), (0.73, 0.81)]
    status = RunStatus(
        run_id=RUN_ID,
        state=RunState.SUCCEEDED,
        step="ReportSuccess",
        execution_arn=f"arn:aws:states:us-east-1:123456789012:execution:machine:{RUN_ID}",
        started_at=START,
        updated_at=at(5400),
        events=[
            Event(time=at(4), step="PlanRun", message="Planned: chat on ml.p4d.24xlarge"),
            Event(time=at(20), step="FinishDataset", message="38 rows to train on, 2 held out"),
            Event(time=at(25), step="StartTraining", message="Started finetune-dev-pirate-0a1b2c3d"),
            Event(time=at(300), step="DescribeTraining", message="Training: Training image download completed"),
            Event(time=at(4100), step="DescribeTraining", message="The training job completed"),
            Event(time=at(5390), step="EvaluateAnswers", message="2 answers, 0 with problems"),
            Event(time=at(5400), step="ReportSuccess", message=f"The endpoint finetune-dev-{RUN_ID} is in service"),
        ],
        checks=[
            Check(check="licence", ok=True, message="accepted by run.json"),
            Check(check="quota", ok=None, message="Service Quotas did not answer in time"),
        ],
        links={"Execution": "https://us-east-1.console.aws.amazon.com/states/home"},
        cost=Cost(estimate_usd=41.2, actual_usd=38.75),
        metrics=[
            Metric(name=f"huggingface-textgeneration:{name}", value=value, time=at(600 * epoch))
            for epoch, values in enumerate(losses, start=1)
            for name, value in zip(("train-loss", "eval-loss"), values, strict=True)
        ],
        training_job="finetune-dev-pirate-0a1b2c3d",
        endpoint="finetune-dev-pirate-0a1b2c3d",
    )
    return status.model_copy(update=changes)


def any_failed_status(**changes: Any) -> RunStatus:
    error = {"code": "DATASET_REFUSED", "message": "line 7 of chat.jsonl is not JSON", "fix": "Fix line 7."}
    failed = any_status(
        state=RunState.FAILED, step="FinishDataset", endpoint="", training_job="", metrics=[], error=error
    )
    return failed.model_copy(update={"events": failed.events[:2], "cost": Cost(estimate_usd=41.2), **changes})


def any_evaluation() -> EvaluationReport:
    rows = [
        Row(
            prompt="Why is the sea salty?",
            source="held-out",
            reference="Arr, the rivers carry salt to the sea, matey.",
            tuned=Answer(
                text="Arr, rivers bring the salt, matey.",
                latency_ms=900,
                scores=Scores(rouge_l=0.533, exact_match=0),
            ),
            base=Answer(
                text="Seawater is salty because of minerals.",
                latency_ms=1100,
                scores=Scores(rouge_l=0.133, exact_match=0),
            ),
        ),
        Row(
            prompt="Name a ship.",
            source="run.json",
            tuned=Answer(text="The Salty Gull, arr!", latency_ms=700),
            base=Answer(text="", latency_ms=600, problem="empty"),
        ),
    ]
    return EvaluationReport(
        ok=True,
        rows=rows,
        checks=[SmokeCheck(check="No errors", ok=True, message="2 of 2 answers")],
        summary=Summary(
            answers=2,
            problems=0,
            changed=2,
            scored=1,
            tuned=rows[0].tuned.scores,
            base=rows[0].base.scores if rows[0].base else None,
            comparison=Comparison(
                prompts=40, tuned=0.533, base=0.133, low=0.31, high=0.48, prompts_for_5_points=90, better=37, worse=1
            ),
            median_latency_ms=800,
        ),
    )


def any_plan(**changes: Any) -> RunPlan:
    """A plan with an instance type and one fallback."""
    options = [
        {
            "instance_type": instance_type,
            "hyperparameters": {"epoch": "3", "learning_rate": "0.0001", "chat_dataset": "True"},
            "max_runtime_seconds": 43_200,
            "price": None,
            "estimate": {
                "seconds": seconds,
                "usd_per_hour": hourly,
                "usd": round(seconds / 3600 * hourly, 2),
                "assumptions": ["12,000 tokens per epoch (estimated from the prepared rows)"],
            },
        }
        for instance_type, seconds, hourly in (("ml.p4d.24xlarge", 3926, 37.69), ("ml.g5.48xlarge", 9000, 20.36))
    ]
    return RunPlan.model_validate(
        {
            "run_id": RUN_ID,
            "name": "pirate",
            "upload": {"bucket": "upload", "key": "runs/pirate/run.json", "version_id": "v1"},
            "data_files": [{"key": "runs/pirate/chat.jsonl", "version_id": "v1", "size": 9000, "etag": "e"}],
            "model_id": "meta-textgeneration-llama-3-1-70b",
            "model_version": "2.16.2",
            "model_provenance": "aws",
            "accept_eula": True,
            "accepted": {
                "by": "s3://upload/runs/pirate/run.json",
                "at": START,
                "licence_key": "eula.txt",
                "version_id": "v1",
                "requester": "123456789012",
                "request_id": "N4N7GDK58NMKJ12R",
            },
            "task": "chat",
            "requested_hyperparameters": {},
            "training": {"options": options, "max_runtime_hours": 12, "max_cost_usd": None},
            "endpoint": {
                "deploy": True,
                "name": None,
                "instance_type": "ml.p4d.24xlarge",
                "instance_count": 1,
                "ttl_hours": 8,
                "idle_minutes": 60,
                "timeout_seconds": 5400,
                "usd_per_hour": 37.69,
            },
            "evaluation": {
                "held_out": 5,
                "prompts": ["Name a ship."],
                "compare_with_base": True,
                "estimate": {
                    "prompts": 6,
                    "temporary_endpoints": 1,
                    "seconds": 2760,
                    "usd": 28.9,
                    "hours_at_most": 3.25,
                    "usd_at_most": 122.49,
                    "assumptions": ["2700 s until an endpoint serves (assumed)"],
                },
            },
            "data_options": {"validation_fraction": 0.05},
            "tags": {},
            **changes,
        }
    )


def any_dataset(**changes: Any) -> DatasetReport:
    """The report of a file of 50 lines, four of them errors."""
    errors = [
        LineError(
            file="chat.jsonl",
            line=line,
            path="messages[1].role",
            code=code,
            message="two turns of user in a row" if code == "ROLE_ORDER" else "the line ends inside a string",
            fix="Let user and assistant alternate." if code == "ROLE_ORDER" else "Export it again.",
            snippet='{"messages": [{"role": "user", "content": "Ahoy"',
        )
        for line, code in ((7, "ROLE_ORDER"), (12, "JSON_TRUNCATED"), (19, "ROLE_ORDER"), (31, "ROLE_ORDER"))
    ]
    return DatasetReport(
        files=[
            FileReport(
                path="chat.jsonl",
                format="jsonl",
                compressed=False,
                shape="OpenAI messages",
                why="every one of the first 50 rows has a list `messages` of objects with role and content",
                lines=50,
                size=9000,
            )
        ],
        task=Task.CHAT,
        task_reason="The rows are conversations.",
        rows=Rows(lines=50, kept=40, train=38, validation=2, duplicates=5, errors=4, blank=1),
        errors=errors,
        error_counts={"JSON_TRUNCATED": 1, "ROLE_ORDER": 3},
        ignored_columns={"id": 40},
        repaired=2,
        statistics=Statistics(
            turns=95,
            characters=12_000,
            tokens=3_000,
            train_tokens=2_850,
            validation_tokens=150,
            trained_tokens=2_798,
            tokens_from="counted with the tokenizer of Llama 3.1",  # pragma: allowlist secret
            longest=[LongRow(file="chat.jsonl", line=3, tokens=2_100)],
            histogram=[
                Bucket(at_least=1 << n, below=2 << n, rows=rows)
                for n, rows in enumerate((1, 0, 3, 9, 14, 8, 3, 1, 1), start=3)
            ],
            scripts={"Latin": 39, "Arabic": 1},
            max_input_length=1024,
            truncated=1,
        ),
        samples=["<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nAhoy?<|eot_id|>"],
        max_error_fraction=0.1,
        validation_fraction=0.05,
    ).model_copy(update=changes)


def any_refusal() -> Refusal:
    return Refusal(code="TOO_MANY_ERRORS", message="4 of 50 lines are errors: 8 % of them.", fix="Fix those lines.")
