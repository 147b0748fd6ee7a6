"""SweepRuns, on a schedule: starts what no event started, and finishes what no clean-up finished."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.aws.step_functions import Executions, executions
from finetuning.aws.upload_bucket import uploads_between
from finetuning.handlers.clean_up_run import clean_up
from finetuning.handlers.step import Payload, function, logger, open_run
from finetuning.operations.clean_up import remove_unfinished
from finetuning.runs.tags import OWNER_TAG, RUN_TAG
from finetuning.settings import settings

LOOKS_BACK = timedelta(days=3)
"""An upload older than this that never ran is left alone: whoever made it has noticed."""


@function
def handler(event: Payload) -> Payload:
    """`{state_machine_arn, older_than_minutes}` → `{finished, started, removed}`: run ids, run ids, a line each.

    What is younger than that is still somebody else's: an event under way, a clean-up that is about to begin.
    """
    machine, now = executions(event["state_machine_arn"]), datetime.now(UTC)
    settled = now - timedelta(minutes=float(event["older_than_minutes"]))
    found = {
        # First, for it claims the run of an execution that died before it could: that one is not to be started anew.
        "finished": list(_finish_ended(machine, settled, now)),
        "started": list(_start_lost(machine, settled, now)),
        "removed": list(_remove_left(machine, settled)),
    }
    logger.info("Swept the runs", extra=found)
    return found


def _start_lost(machine: Executions, settled: datetime, now: datetime) -> Iterator[str]:
    """Uploads without a run. A late event, or a second sweep, finds the run claimed.

    A run whose files somebody deleted has no claim either; but what was trained once is not to be paid for again.
    """
    api = sagemaker()
    for upload in uploads_between(settings().upload_bucket, now - LOOKS_BACK, settled):
        run = open_run(upload.run_id, __name__)
        if not run.is_claimed():
            trained = api.describe_training_job(run.names.training_job(0))
            if trained is None and machine.start(upload):
                yield run.run_id


def _finish_ended(machine: Executions, settled: datetime, now: datetime) -> Iterator[str]:
    """Executions that ended early and whose run does not say so: their clean-up failed, or never heard of them."""
    for arn in machine.ended_early(now - LOOKS_BACK, settled):
        run_id = _run_of(machine, arn)
        if run_id is None or open_run(run_id, __name__).status.state.is_final:
            continue
        if clean_up(run_id, machine.describe(arn)) is not None:
            yield run_id


def _remove_left(machine: Executions, settled: datetime) -> Iterator[str]:
    """Jobs and unfinished endpoints of runs that no execution works for: made by a function that outlived its own."""
    api = sagemaker()
    left = set(_runs_with_something(api, settled))  # before the executions: a run that begins now is not among them
    working = {_run_of(machine, execution.arn) for execution in machine.running()} if left else set()
    for run_id in sorted(left - working):
        run = open_run(run_id, __name__)
        for line in remove_unfinished(api, run.names):
            run.record(line)
            yield line


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
