"""CleanUpRun: after an execution that was aborted, timed out or failed, removes what would cost money without a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.sns import notify
from finetuning.aws.step_functions import runs_again, start_of
from finetuning.errors import Code, FineTuningError
from finetuning.handlers.step import Payload, function, logger, measure_failure, open_run, set_run_context
from finetuning.operations.clean_up import expire_failed, remove_unfinished, take_back_endpoint
from finetuning.operations.imports import expire_failed_import, remove_unfinished_import, take_back_import
from finetuning.operations.report_page import write_report
from finetuning.operations.run import Run
from finetuning.report import messages
from finetuning.runs.status import RunState
from finetuning.runs.uploads import upload_of
from finetuning.settings import settings


@function
def handler(event: Payload) -> Payload:
    """EventBridge's "Step Functions Execution Status Change" → `{done: [what was removed, …]}`."""
    detail = event["detail"]
    upload = upload_of(detail["input"])
    if upload is None:
        return {"done": []}
    set_run_context(upload.run_id)
    return {"done": clean_up(upload.run_id, detail) or []}


def clean_up(run_id: str, ended: Mapping[str, Any]) -> list[str] | None:
    """Removes what the run left unfinished and reports its end, unless a step has; returns what was removed, one line
    each. None if the run belongs to another execution, or if its own was redriven and runs again.

    `ended`: the execution, `{executionArn, status, cause, …}` as in EventBridge's event and in DescribeExecution.
    """
    run = open_run(run_id, __name__)
    # Read before the owner: a redeployment may take over an ended run at any time, and sets its status to running.
    is_reported = run.status.state.is_final
    if not run.is_owned_by(ended["executionArn"]) or runs_again(ended):
        return None
    done = [*remove_unfinished(sagemaker(), run.names), *remove_unfinished_import(run)]
    if not is_reported:
        done += _endpoint_left(run, ended)
        _report(run, ended, done)
    else:
        for line in done:
            run.record(line)
    return done


def _endpoint_left(run: Run, ended: Mapping[str, Any]) -> list[str]:
    """What is done about an endpoint that serves although its run did not succeed."""
    began = start_of(ended)
    if ended["status"] == "FAILED":
        return [*expire_failed(sagemaker(), run.names, began), *expire_failed_import(run, began)]
    return [*take_back_endpoint(sagemaker(), run.names, began), *take_back_import(run, began)]


def _report(run: Run, ended: Mapping[str, Any], done: Sequence[str]) -> None:
    error = _error(ended, done).as_dict()
    logger.warning(error["message"], extra={"error": error})
    measure_failure(str(error["code"]), run.run_id)
    state = RunState.ABORTED if ended["status"] == "ABORTED" else RunState.FAILED
    status = run.record(str(error["message"]), state=state, error=error)
    page = write_report(run)
    notify(settings().topic_arn, messages.run_aborted(status, error, stage=settings().stage, report=page))


def _error(ended: Mapping[str, Any], done: Sequence[str]) -> FineTuningError:
    """The error of a run whose execution ended without a report."""
    if ended["status"] == "ABORTED":
        code, message = Code.RUN_ABORTED, "The execution was aborted."
    elif ended["status"] == "TIMED_OUT":
        code, message = Code.RUN_TIMED_OUT, "The execution exceeded its time limit."
    else:
        code, message = Code.INTERNAL_ERROR, ended.get("cause") or "The execution failed without a cause."
    message = " ".join([message, *(f"{line}." for line in done)])
    return FineTuningError(code, message, "Start over with `finetune submit --again RUN`.")
