"""ReportFailure: reports what went wrong and what to do, and removes what the run left unfinished."""

from collections.abc import Mapping

from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.sns import notify
from finetuning.datasets.preparation import Preparation
from finetuning.handlers.step import Payload, function, logger, measure_failure, open_run, set_run_context
from finetuning.operations.clean_up import expire_failed, remove_unfinished
from finetuning.operations.imports import expire_failed_import, remove_unfinished_import
from finetuning.operations.report_page import write_report
from finetuning.operations.run import Run
from finetuning.report import commands, messages
from finetuning.report.run_event import run_event
from finetuning.runs.failures import DataRead, failed_step, read_failure, shard_of
from finetuning.runs.status import RunState
from finetuning.runs.uploads import Upload
from finetuning.settings import settings

READS_DATA = ("PlanShards", "ReframeParquet", "PrepareShard", "FinishDataset")


@function
def handler(event: Payload) -> Payload:
    """`{bucket, key, version_id, execution_arn, state, error: {Error, Cause}}` → the Fail state's `{code, message}`,
    and the `event` to send if this is the end of a run.

    An upload that starts no run, such as inbox/folder/file.jsonl, has no status.json: only a notification is sent.
    """
    upload = Upload(event["bucket"], event["key"], event["version_id"])
    stage = settings().stage
    run_id = upload.run_id if upload.starts_a_run else None
    state = failed_step(event["state"], event["error"])
    data = _data_read(open_run(run_id, __name__), state, event["error"]) if run_id else DataRead()
    failure = read_failure(state, event["error"], commands.deploy(run_id or "RUN", stage), data)
    answer = {"code": failure["code"], "message": failure["message"]}
    set_run_context(run_id)
    logger.warning(failure["message"], extra={"error": failure})
    if run_id is None:
        notify(settings().topic_arn, messages.upload_refused(upload.key, failure, stage=stage))
        return answer
    run = open_run(run_id, __name__)
    if not run.is_owned_by(event["execution_arn"]):
        return answer
    measure_failure(failure["code"], run_id)
    began = run.status.redeployed_at or run.status.started_at
    serving = [*expire_failed(sagemaker(), run.names, began), *expire_failed_import(run, began)]
    for line in [*remove_unfinished(sagemaker(), run.names), *remove_unfinished_import(run), *serving]:
        run.record(line)
    status = run.record(
        failure["message"],
        step=state,
        state=RunState.FAILED,
        error=failure,
        execution_arn=event["execution_arn"],
    )
    page = write_report(run)
    message = messages.run_failed(status, failure, serving=serving, stage=stage, report=page)
    notify(settings().topic_arn, message)
    event_of_end = run_event(status, run.find_plan(), stage=stage, report=page)
    return {**answer, "links": status.links | {"Report": page.console}, "event": event_of_end}


def _data_read(run: Run, state: str, error: Mapping[str, str]) -> DataRead:
    """What the failed step was reading of the data."""
    shard, preparation = shard_of(error), run.store.find(run.layout.preparation, Preparation)
    if shard is not None and preparation:
        files = [preparation.files[each.file] for each in preparation.shards_of_call(shard)]
        return DataRead([file.name for file in files], is_cut=files[0].detection.splittable)
    plan = run.find_plan()
    if plan is None or state not in READS_DATA:
        return DataRead()
    return DataRead([file.name for file in plan.data_files if file.is_parquet or state != "ReframeParquet"])
