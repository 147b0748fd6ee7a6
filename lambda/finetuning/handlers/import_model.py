"""ImportModel: imports the tuned model into Bedrock, beside the one that serves."""

from datetime import UTC, datetime, timedelta

from finetuning.aws.bedrock import bedrock
from finetuning.errors import Code, EndpointFailed, FineTuningError
from finetuning.handlers.step import Payload, step
from finetuning.operations.endpoint_turns import require_patience, run_ahead
from finetuning.operations.imports import ImportUnderWay, is_ours, latest_import, next_attempt, start_import
from finetuning.operations.run import Run, target
from finetuning.operations.run_end import require_running
from finetuning.planning import orders
from finetuning.report.console_links import imported_models_link
from finetuning.runs.expiry import deployed_tag
from finetuning.runs.outcomes import Outcome
from finetuning.runs.waiting import LONGEST_ENDPOINT_WAIT_HOURS, wait_seconds
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, variant: "live"|"candidate"}` → `{outcome, wait_seconds}`.

    The outcome is `waiting` while an earlier run has its turn with the same name, or the account is importing another
    model; then the step is repeated. Otherwise it is `go`: there is a job, or the model is there from an earlier step.
    """
    now, api, names = datetime.now(UTC), bedrock(), run.names
    require_running(run)
    if event["variant"] == "live" and run.plan.endpoint.name and (other := run_ahead(run, names.endpoint, now)):
        waited = require_patience(run.status, names.endpoint, now)
        return _wait(run, f"Waiting for the run {other}, which deploys to {names.endpoint} first", now, waited)
    job, model = latest_import(api, names), api.find_model(names.imported_model)
    if model is not None and not is_ours(api.tags(model["modelArn"]), names):
        raise FineTuningError(
            Code.NAME_TAKEN,
            f"The imported model {names.imported_model} exists, and this run did not import it.",
            "Delete it, or upload the data again: a new upload gets another name.",
        )
    request = orders.import_job(run.plan, target(), run.tuned_model, next_attempt(names, job))
    if model is not None:
        if run.status.redeployed_at:  # its tags are of the import, or of the end of a run that failed
            tags = {tag["key"]: tag["value"] for tag in request["importedModelTags"]}
            api.tag(model["modelArn"], tags | deployed_tag(names.imported_model, now))
    elif job is None or job["status"] != "InProgress":
        try:
            deleted = start_import(api, run.store, names.endpoint, request)
        except ImportUnderWay as other_import:
            return _wait_for_import(run, other_import.model, now)
        for line in deleted:
            run.record(line)
    status = run.record(
        f"Importing {names.imported_model} into Bedrock",
        links={"Imported model": imported_models_link(settings().aws_region)},
        endpoint_wait_began=None,
        deployment_began=now,
    )
    return {"outcome": Outcome.GO, "wait_seconds": wait_seconds(0), **status.shown}


def _wait_for_import(run: Run, model: str, now: datetime) -> Payload:
    """Raises `EndpointFailed` (IMPORT_OUT_OF_TIME) after the longest wait."""
    waited = now - (run.status.endpoint_wait_began or now)
    if waited > timedelta(hours=LONGEST_ENDPOINT_WAIT_HOURS):
        raise EndpointFailed(
            Code.IMPORT_OUT_OF_TIME,
            f"The account was importing other models for {LONGEST_ENDPOINT_WAIT_HOURS} hours, last {model}.",
            "An account imports one model at a time. The tuned model is kept: try again with `finetune deploy RUN`.",
        )
    message = f"Waiting for the import of {model}: the account imports no second model at the same time"
    return _wait(run, message, now, waited)


def _wait(run: Run, message: str, now: datetime, waited: timedelta) -> Payload:
    status = run.record(message, progress=message, endpoint_wait_began=now - waited)
    return {"outcome": Outcome.WAITING, "wait_seconds": wait_seconds(waited.total_seconds()), **status.shown}
