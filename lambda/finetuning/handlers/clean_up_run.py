"""Clean-up after an execution that was aborted, timed out or failed: nothing costs money without a run behind it."""

import json

from finetuning.aws.clean_up import planned_names, remove_half_made
from finetuning.aws.notifications import notify
from finetuning.aws.report import write_report
from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.status_board import read_status, record
from finetuning.aws.store import RunStore, run_store
from finetuning.errors import Code, FineTuningError
from finetuning.handlers.step import Payload, logger, measure_failure, step, works_for
from finetuning.report import messages
from finetuning.runs.identity import Upload
from finetuning.runs.status import RunState
from finetuning.settings import settings

STATE = "CleanUp"


@step
def handler(event: Payload) -> Payload:
    """EventBridge's "Step Functions Execution Status Change" → `{done: [what was taken back, …]}`."""
    detail = event["detail"]
    upload = Upload(**{name: json.loads(detail["input"])[name] for name in ("bucket", "key", "version_id")})
    run_id, store = upload.run_id, run_store()
    works_for(run_id)
    if not store.is_owned_by(run_id, detail["executionArn"]):
        return {"done": []}
    done = remove_half_made(sagemaker(), planned_names(store, run_id))
    for line in done:
        record(store, run_id, STATE, line)
    if not read_status(store, run_id).state.is_final:
        _tell(store, run_id, detail)
    return {"done": done}


def _tell(store: RunStore, run_id: str, detail: Payload) -> None:
    error = _explained(detail).as_dict()
    logger.warning(error["message"], extra={"error": error})
    measure_failure(str(error["code"]), run_id)
    state = RunState.ABORTED if detail["status"] == "ABORTED" else RunState.FAILED
    status = record(store, run_id, STATE, str(error["message"]), state=state, error=error)
    page = write_report(store, run_id, settings().stage)
    notify(settings().topic_arn, messages.run_aborted(status, error, stage=settings().stage, report=page))


def _explained(detail: Payload) -> FineTuningError:
    """What the execution's end means for its run, which no step has told of."""
    if detail["status"] == "ABORTED":
        code, message = Code.RUN_ABORTED, "The execution was aborted; its training job was stopped."
    elif detail["status"] == "TIMED_OUT":
        code, message = Code.RUN_TIMED_OUT, "The execution was ended by its time limit; its training job was stopped."
    else:
        code, message = Code.INTERNAL_ERROR, detail.get("cause") or "The execution failed without giving a cause."
    return FineTuningError(code, message, "Upload the data again to start over.")
