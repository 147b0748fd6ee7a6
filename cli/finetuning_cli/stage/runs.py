"""A stage's runs: find, follow, stop, deploy again."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.aws.step_functions import execution_status
from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.operations.preflight import no_model
from finetuning.operations.run import Run
from finetuning.report import commands
from finetuning.report.messages import LINK_HOURS
from finetuning.runs.layout import RUNS
from finetuning.runs.redeploy import read_terms
from finetuning.runs.status import RunState, RunStatus
from finetuning.runs.uploads import Upload
from finetuning_cli.errors import NOT_SIGNED_IN
from finetuning_cli.stage.deployment import Deployment

START_WITHIN_SECONDS = 180
"""From upload to the first status.json: EventBridge delivers within seconds; a cold start takes a few more."""

CLEAN_UP_SECONDS = 120
"""From the end of an execution to the event that reports its clean-up."""

SILENT_SECONDS = 30
"""After this time without a change, the status is compared with the execution's own state."""

UNREACHABLE_SECONDS = 300
"""For which calls may fail while a run is followed."""

T = TypeVar("T")


class Connection:
    """Lets calls fail for a while: a run takes hours, in which a laptop sleeps and changes its network."""

    def __init__(self) -> None:
        self._failing_since: float | None = None

    def try_to(self, call: Callable[[], T], otherwise: T) -> T:
        """What the call returns; `otherwise` if AWS cannot be reached just now.

        Raises the call's `TransientAwsError` after `UNREACHABLE_SECONDS`, and at once without valid credentials.
        """
        try:
            answer = call()
        except TransientAwsError as error:
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            if now - self._failing_since > UNREACHABLE_SECONDS or isinstance(error.__cause__, NOT_SIGNED_IN):
                raise
            return otherwise
        self._failing_since = None
        return answer


def list_run_ids(deployment: Deployment) -> list[str]:
    """The ids of runs with files in the artifacts bucket."""
    return list(deployment.store.folders(RUNS))


def list_runs(deployment: Deployment, name: str = "") -> list[RunStatus]:
    """The status of every run that has one, latest first; only those of uploads of that name, if one is given."""
    ids = [each for each in list_run_ids(deployment) if name in ("", each.rpartition("-")[0])]
    runs = [deployment.run(run_id) for run_id in ids]
    with ThreadPoolExecutor(max_workers=16) as pool:
        found = [status for status in pool.map(Run.find_status, runs) if status]
    return sorted(found, key=lambda status: status.started_at, reverse=True)


def find_run(deployment: Deployment, name: str) -> Run:
    """The run of that id, or the latest run of an upload of that name.

    Raises `FineTuningError` (RUN_NOT_FOUND).
    """
    if (run := deployment.run(name)).find_status():
        return run
    named = list_runs(deployment, name) if name else []
    if not named:
        raise FineTuningError(
            Code.RUN_NOT_FOUND,
            f"There is no run {name} in s3://{deployment.artifacts_bucket}/runs/.",
            "List the runs with `finetune runs`. A run appears a few seconds after its upload.",
        )
    return deployment.run(named[0].run_id)


def stop_run(run: Run) -> bool:
    """Stops the execution of a run; False if it has already ended. The workflow's clean-up then does the rest."""
    status = run.find_status()
    if status is None or not is_running(status):
        return False
    stop_execution(status, f"finetune stop, by {caller()}")
    return True


def stop_execution(status: RunStatus, cause: str) -> None:
    with translate_errors(f"stop the execution of {status.run_id}"):
        client("stepfunctions").stop_execution(executionArn=status.execution_arn, error=Code.RUN_ABORTED, cause=cause)


def is_running(status: RunStatus) -> bool:
    return status.state is RunState.RUNNING and bool(status.execution_arn)


def caller() -> str:
    """The ARN of the identity that runs the command."""
    with translate_errors("identify the caller"):
        return str(client("sts").get_caller_identity()["Arn"])


def redeploy(
    deployment: Deployment,
    run: Run,
    ttl_hours: float | None = None,
    instance_type: str | None = None,
    target: str | None = None,
) -> str:
    """Starts an execution that deploys the model of an ended run again, and returns its ARN.

    Raises `FineTuningError`: RUN_STILL_RUNNING, or RUN_HAS_NO_MODEL if the run trained none; and `RunRefused` for terms
    that the workflow would refuse.
    """
    terms = read_terms({"ttl_hours": ttl_hours, "instance_type": instance_type, "target": target})
    status, plan = run.find_status(), run.find_plan()
    if status is None or plan is None or not run.tuned_model:
        finding = no_model(run.run_id)
        raise FineTuningError(finding.code, finding.message, finding.fix)
    if not status.state.is_final:
        raise FineTuningError(
            Code.RUN_STILL_RUNNING,
            f"The run {run.run_id} is still running, at {status.step}.",
            f"Wait for its end: {commands.watch(run.run_id, deployment.stage)}",
        )
    event = {**Upload(**plan.upload.model_dump()).event, "redeploy": terms}
    with translate_errors(f"start the deployment of {run.run_id}"):
        started = client("stepfunctions").start_execution(
            stateMachineArn=deployment.state_machine_arn, input=json.dumps(event)
        )
    return str(started["executionArn"])


def has_taken_over(deployment: Deployment, run: Run, execution_arn: str) -> bool:
    """True once the execution that `redeploy` started owns the run.

    Raises `FineTuningError` if it ended before that: RUN_STILL_RUNNING if another owns the run, else RUN_NOT_STARTED.
    """
    state = execution_status(execution_arn)  # first: it may take the run over and end between the two reads
    status = run.find_status()
    if status and status.execution_arn == execution_arn:
        return True
    if state == "SUCCEEDED":
        raise FineTuningError(
            Code.RUN_STILL_RUNNING,
            f"Another execution is already working on the run {run.run_id}, so this one did nothing.",
            f"Wait for its end: {commands.watch(run.run_id, deployment.stage)}",
        )
    if state != "RUNNING":
        raise FineTuningError(
            Code.RUN_NOT_STARTED,
            f"The execution to deploy the model of {run.run_id} ended early ({state}): {execution_arn}",
            "Look up the cause in the Step Functions console, then run: "
            f"{commands.deploy(run.run_id, deployment.stage)}",
        )
    return False


def status_changes(run: Run, poll_seconds: float, wait: Callable[[float], None] = time.sleep) -> Iterator[RunStatus]:
    """The run's status after each change, until it is final. `wait` is called between two looks.

    Raises `FineTuningError`: RUN_NOT_STARTED, or RUN_ABORTED if its execution ended without a final status.
    """
    last: RunStatus | None = None
    changed_at, ended, connection = time.monotonic(), False, Connection()
    while True:
        status = connection.try_to(run.find_status, None)
        silent = time.monotonic() - changed_at
        if status is not None and status != last:
            last, changed_at, ended = status, time.monotonic(), False
            yield status
            if status.state.is_final:
                return
        elif last is None and silent > START_WITHIN_SECONDS:
            raise FineTuningError(
                Code.RUN_NOT_STARTED,
                f"The run {run.run_id} did not start within {START_WITHIN_SECONDS} s of its upload.",
                "Choose the run's stage with --stage, or check the trigger's dead-letter queue and the state machine's "
                "executions in the AWS console.",
            )
        elif last is not None and last.execution_arn and silent > SILENT_SECONDS:
            if ended:
                raise FineTuningError(
                    Code.RUN_ABORTED,
                    f"The execution of {run.run_id} ended after {last.step} without reporting a cause.",
                    f"Open the execution in the AWS console: {last.execution_arn}",
                )
            # The clean-up after an aborted execution takes a moment to report: wait one more interval.
            running: str | None = "RUNNING"
            ended = connection.try_to(partial(execution_status, last.execution_arn), running) != running
            changed_at = time.monotonic()
        wait(poll_seconds)


def wait_for_report(status: RunStatus, poll_seconds: float) -> None:
    """Waits for the execution's end: the last step writes the report page after the final status."""
    deadline, connection = time.monotonic() + SILENT_SECONDS, Connection()
    running: str | None = "RUNNING"
    look = partial(execution_status, status.execution_arn)
    while status.execution_arn and connection.try_to(look, running) == running and time.monotonic() < deadline:
        time.sleep(poll_seconds)


def wait_for_clean_up(deployment: Deployment, run: Run) -> RunStatus:
    """The run's status once it is final. Raises `FineTuningError` (CLEAN_UP_LATE)."""
    deadline = time.monotonic() + CLEAN_UP_SECONDS
    while time.monotonic() < deadline:
        status = run.find_status()
        if status is not None and status.state.is_final:
            return status
        time.sleep(1)
    raise FineTuningError(
        Code.CLEAN_UP_LATE,
        f"The execution of {run.run_id} is stopped, but its clean-up has not reported for {CLEAN_UP_SECONDS} s.",
        f"See what is left with `{commands.clean_up(run.run_id, deployment.stage)}`. "
        "The sweep of runs, every 15 minutes, finishes what the clean-up did not.",
    )


def report_link(deployment: Deployment, run: Run) -> str:
    """A signed URL of the run's report page. Raises `FineTuningError` (REPORT_NOT_WRITTEN) while the run is running."""
    status = run.find_status()
    if status and not status.state.is_final:
        raise FineTuningError(
            Code.REPORT_NOT_WRITTEN,
            f"The run {run.run_id} is still running; its report page is written when it ends.",
            f"Follow the run with `{commands.watch(run.run_id, deployment.stage)}`, "
            "or save the page so far with --save FILE.",
        )
    return run.store.link(run.layout.report_page, LINK_HOURS)
