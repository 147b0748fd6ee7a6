"""FinishDataset: joins the shards to the training channels, reports on the data, and completes the plan."""

import orjson

from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.held_out import held_out_prompts
from finetuning.datasets.join import join_shards, training_digests
from finetuning.datasets.outputs import BYTES_OF_A_DIGEST
from finetuning.datasets.preparation import Preparation
from finetuning.errors import DatasetRefused
from finetuning.evaluation.asking import batches, judge_batches
from finetuning.handlers.step import Payload, logger, measure, step
from finetuning.jumpstart.family import Task
from finetuning.metrics import ProductMetric
from finetuning.operations.answers import questions_of
from finetuning.operations.run import Run
from finetuning.planning.planner import complete, summary_of
from finetuning.runs.layout import DATASET, SHARDS
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → `{task, train_rows, validation_rows, batches, judge_batches, compare_with_base}`: the batches of
    prompts that the evaluation asks, those of a judge's questions, and whether it asks the base model.

    Raises `DatasetRefused` if too many rows are bad, and `RunRefused` if the plan does not fit the number of rows;
    dataset.json is written in any case.
    """
    store, layout, plan = run.store, run.layout, run.plan
    preparation = store.load(layout.preparation, Preparation)
    half = settings().aws_lambda_function_memory_size * (1 << 20) // 2
    report = join_shards(preparation, run.files, SHARDS, DATASET, at_once=half // BYTES_OF_A_DIGEST)
    store.save(layout.dataset_report, report)
    _account_for(report)
    if report.refusal:
        raise DatasetRefused(report.refusal.message, report.refusal.fix)
    rows = report.rows
    prompts = held_out_prompts(preparation, run.files, DATASET, rows, plan.evaluation.held_out)
    store.write(layout.prompts, b"".join(orjson.dumps(prompt) + b"\n" for prompt in prompts), "application/jsonl")
    digests = training_digests(preparation, run.files, DATASET)
    task = Task(preparation.task)
    spec = read_model_spec(plan.model_id, plan.model_version)
    completed = complete(plan, spec, task, summary_of(report, digests))
    run.save_plan(completed)
    status = run.record(
        f"{rows.lines:,} lines: {rows.train:,} rows to train on, {rows.validation:,} held out, "
        f"{rows.duplicates:,} duplicates, {rows.errors:,} errors",
        checks=completed.checks,
    )
    prompts_asked = len(questions_of(run))
    return {
        "task": str(task),
        "train_rows": rows.train,
        "validation_rows": rows.validation,
        "batches": batches(prompts_asked),
        "judge_batches": judge_batches(prompts_asked) if completed.evaluation.judge else [],
        "compare_with_base": completed.evaluation.compare_with_base,
        **status.shown,
    }


def _account_for(report: DatasetReport) -> None:
    """Measures what became of the rows, and logs why some were refused."""
    rows = report.rows
    measure(
        {
            ProductMetric.DATASET_ROWS_KEPT: rows.kept,
            ProductMetric.DATASET_ROWS_DUPLICATE: rows.duplicates,
            ProductMetric.DATASET_ROWS_REFUSED: rows.errors,
        }
    )
    for reason, count in report.error_counts.items():
        logger.info("Rows refused", extra={"reason": reason, "rows": count})
