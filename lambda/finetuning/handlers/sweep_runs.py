"""SweepRuns, on a schedule: starts uploads whose event was lost, and cleans up after runs whose clean-up failed.
It also corrects the status of runs that were redriven.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from finetuning.aws.bedrock import bedrock
from finetuning.aws.run_store import run_store
from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.aws.sns import notify
from finetuning.aws.step_functions import Executions, executions, start_of
from finetuning.aws.upload_bucket import uploads_between
from finetuning.errors import Code
from finetuning.handlers.clean_up_run import clean_up
from finetuning.handlers.step import Payload, function, logger, measure, open_run
from finetuning.metrics import ProductMetric
from finetuning.operations.clean_up import remove_unfinished, take_back_endpoint
from finetuning.operations.imports import remove_import, runs_with_imports, take_back_import
from finetuning.operations.redrive import set_running
from finetuning.operations.run import Run
from finetuning.operations.sweep import Sweep
from finetuning.report import messages
from finetuning.runs.status import RunState
from finetuning.runs.tags import OWNER_TAG, RUN_TAG
from finetuning.settings import settings

LOOKS_BACK = timedelta(days=3)
"""An older upload that never ran is not started: its user has noticed by now."""


@function
def handler(event: Payload) -> Payload:
    """`{state_machine_arn, older_than_minutes}` → `{finished: [run id, …], started: [run id, …], resumed: [run id, …],
    removed: [line, …]}`.

    Anything younger is left alone: its event may be on the way, or its clean-up about to start. Raises
    `FineTuningError` (SWEEP_INCOMPLETE) at the end if a part failed.
    """
    machine, now = executions(event["state_machine_arn"]), datetime.now(UTC)
    settled = now - timedelta(minutes=float(event["older_than_minutes"]))
    sweep = Sweep("finished", "started", "resumed", "removed")
    # First: it claims the run of an execution that died before it did so, which must not be started again.
    if sweep.attempt("ended runs", lambda: sweep.add("finished", _finish_ended(machine, settled, now))):
        sweep.attempt("lost uploads", lambda: sweep.add("started", _start_lost(machine, settled, now)))
    sweep.attempt("redriven runs", lambda: sweep.add("resumed", _resume_redriven(machine, settled)))
    sweep.attempt("jobs and endpoints without a run", lambda: sweep.add("removed", _remove_left(machine, settled)))
    sweep.attempt("running jobs", _count_jobs)
    logger.info("Swept the runs", extra=sweep.done)
    sweep.require_complete()
    return sweep.done


def _count_jobs() -> None:
    running = sagemaker().training_jobs(settings().prefix + "-", "InProgress")
    measure({ProductMetric.TRAINING_JOBS_RUNNING: sum(1 for _ in running)})


def _start_lost(machine: Executions, settled: datetime, now: datetime) -> Iterator[str]:
    """Starts uploads without a run. If the event arrives late, the run is already claimed.

    A run whose files were deleted is not claimed either, so its training jobs are looked up: it is not paid for twice.
    """
    api = sagemaker()
    for upload in uploads_between(settings().upload_bucket, now - LOOKS_BACK, settled):
        run = open_run(upload.run_id, __name__)
        if not run.is_claimed():
            # Any attempt's: the first instance type may have been refused before there was a job.
            trained = any(api.jobs_of(run.names))
            if not trained and machine.start(upload):
                yield run.run_id


def _finish_ended(machine: Executions, settled: datetime, now: datetime) -> Iterator[str]:
    """Cleans up after executions that ended early without a final status: CleanUpRun failed, or its event was lost."""
    for arn in machine.ended_early(now - LOOKS_BACK, settled):
        run_id = _run_of(machine, arn)
        if run_id is None or open_run(run_id, __name__).status.state.is_final:
            continue
        if clean_up(run_id, machine.describe(arn)) is not None:
            yield run_id


def _resume_redriven(machine: Executions, settled: datetime) -> Iterator[str]:
    """Sets the status of a run that ended and was redriven to running, where the clean-up after its end came too late
    and changed it again.
    """
    for execution in machine.running():
        redrives = machine.describe(execution.arn).get("redriveCount", 0)
        run_id = _run_of(machine, execution.arn) if redrives else None
        status = open_run(run_id, __name__).find_status() if run_id else None
        if run_id is None or status is None or status.execution_arn != execution.arn:
            continue
        if status.state.is_final and status.updated_at <= settled:  # or its last step is about to end
            set_running(open_run(run_id, __name__), redrives)
            yield run_id


def _remove_left(machine: Executions, settled: datetime) -> Iterator[str]:
    """Removes jobs and unfinished endpoints of runs without a running execution: a function created them after its
    execution had ended.
    """
    api = sagemaker()
    left = set(
        _runs_with_something(api, settled)
    )  # read before the executions, so that a run that starts now is not among them
    working = {_run_of(machine, execution.arn) for execution in machine.running()} if left else set()
    for run_id in sorted(left - working):
        run = open_run(run_id, __name__)
        # Also of a run whose model was deployed to SageMaker since.
        imported = remove_import(bedrock(), run) if settings().bedrock_import else []
        for line in [*remove_unfinished(api, run.names), *imported]:
            run.record(line)
            yield line
        for line in _taken_back(machine, run):
            if all(line != event.message for event in run.status.events):  # a rollback is advised once
                run.record(line)
                notify(settings().topic_arn, messages.endpoint_left(run_id, line, stage=settings().stage))
                yield line


def _taken_back(machine: Executions, run: Run) -> list[str]:
    """What is done about an endpoint that a function created after its execution was aborted or timed out."""
    status = run.find_status()
    if status is None or not status.execution_arn or not status.state.is_final:
        return []
    error = (status.error or {}).get("code")
    if status.state is RunState.SUCCEEDED or error not in (Code.RUN_ABORTED, Code.RUN_TIMED_OUT):
        return []
    began = start_of(machine.describe(status.execution_arn))
    return [*take_back_endpoint(sagemaker(), run.names, began), *take_back_import(run, began)]


def _run_of(machine: Executions, execution_arn: str) -> str | None:
    upload = machine.upload(execution_arn)
    return upload.run_id if upload else None


def _runs_with_something(api: SageMaker, settled: datetime) -> Iterator[str]:
    prefix = settings().prefix + "-"
    described = [api.describe_training_job(name) or {} for name in api.training_jobs(prefix, "InProgress")]
    made = [(job.get("TrainingJobArn"), job.get("CreationTime")) for job in described]
    made += [(each["EndpointArn"], each["CreationTime"]) for each in api.endpoints(prefix)]
    for arn, created_at in made:
        if arn and created_at and created_at <= settled:
            tags = api.tags(arn)
            if tags.get(OWNER_TAG) == settings().prefix and RUN_TAG in tags:
                yield tags[RUN_TAG]
    if settings().bedrock_import:
        yield from runs_with_imports(run_store(), settled)
