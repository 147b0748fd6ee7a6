"""PlanRun: judges an upload whole, and settles what the run will do before it costs anything."""

from finetuning.aws.preflight import preflight
from finetuning.aws.status_board import record
from finetuning.aws.store import run_store
from finetuning.aws.upload_bucket import upload_bucket
from finetuning.errors import RunRefused
from finetuning.handlers.step import Payload, step, works_for
from finetuning.runs.identity import Upload
from finetuning.runs.layout import RunLayout
from finetuning.runs.links import execution_link, files_link
from finetuning.runs.status import Cost
from finetuning.settings import settings

STATE = "PlanRun"


@step
def handler(event: Payload) -> Payload:
    """`{bucket, key, version_id, execution_arn}` → `{outcome, run_id, parquet, deploy, compare_with_base, approval,
    approval_seconds}`.

    The outcome is `duplicate` where another execution has the run already; nothing is written then. Raises
    `RunRefused` with all findings where anything is wrong.
    """
    upload = Upload(event["bucket"], event["key"], event["version_id"])
    works_for(upload.run_id)
    store, layout, execution_arn = run_store(), RunLayout(upload.run_id), event["execution_arn"]
    result = {
        "run_id": upload.run_id,
        "parquet": False,
        "deploy": False,
        "compare_with_base": False,
        "approval": False,
        "approval_seconds": int(settings().approval_hours * 3600),
    }
    if not store.is_owned_by(upload.run_id, execution_arn):
        return {"outcome": "duplicate", **result}
    region, files = settings().aws_region, files_link(settings().aws_region, store.bucket, layout.root)
    record(
        store,
        upload.run_id,
        STATE,
        f"Planning the run of {upload.key}",
        execution_arn=execution_arn,
        links={"Execution": execution_link(region, execution_arn), "Files": files},
    )
    run_json = upload_bucket(upload).run_json()
    store.write(layout.request, run_json)
    plan, checklist = preflight(upload, run_json)
    if plan is None or checklist.findings:
        record(store, upload.run_id, STATE, "The preflight refused the run", checks=checklist.checks)
        raise RunRefused(checklist.findings)
    store.save(layout.plan, plan)
    estimate = plan.training.estimate
    status = record(
        store,
        upload.run_id,
        STATE,
        f"Planned: {plan.model_id} {plan.model_version} on {plan.training.instance_types[0]}",
        checks=plan.checks,
        cost=Cost(estimate_usd=estimate.usd, assumptions=estimate.assumptions),
    )
    return result | {
        "outcome": "planned",
        "parquet": plan.parquet,
        "deploy": plan.endpoint.deploy,
        "compare_with_base": plan.evaluation.compare_with_base,
        "approval": plan.approval,
        **status.shown,
    }
