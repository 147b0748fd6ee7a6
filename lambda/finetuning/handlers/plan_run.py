"""PlanRun: judges an upload whole, and settles what the run will do before it costs anything."""

from typing import Any

from finetuning.aws.run_store import RunStore, run_store
from finetuning.aws.upload_bucket import upload_bucket
from finetuning.errors import RunRefused
from finetuning.handlers.step import Payload, set_run_context, step
from finetuning.operations.preflight import check_deployment, preflight
from finetuning.operations.status_board import read_status, record
from finetuning.report.console_links import execution_link, files_link
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import EndpointPlan, RunPlan
from finetuning.runs.status import Cost, RunState
from finetuning.runs.uploads import Upload
from finetuning.settings import settings

STATE = "PlanRun"


@step
def handler(event: Payload) -> Payload:
    """`{bucket, key, version_id, execution_arn, redeploy}` → `{outcome, run_id, parquet, deploy, compare_with_base,
    must_beat_base, autoscaling, approval, approval_seconds}`.

    The outcome is `duplicate` where another execution has the run already; nothing is written then. With `redeploy`,
    an object that may hold `ttl_hours`, the model that the run trained earlier is to be deployed once more: `redeploy`
    is the outcome, too. Raises `RunRefused` with all findings where anything is wrong.
    """
    upload = Upload(event["bucket"], event["key"], event["version_id"])
    set_run_context(upload.run_id)
    store, layout, execution_arn = run_store(), RunLayout(upload.run_id), event["execution_arn"]
    if event.get("redeploy") is not None:
        return _redeploy(store, layout, execution_arn, event["redeploy"])
    if not store.is_owned_by(upload.run_id, execution_arn):
        return _result("duplicate", upload.run_id)
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
    return _result(
        "planned",
        upload.run_id,
        parquet=plan.parquet,
        deploy=plan.endpoint.deploy,
        compare_with_base=plan.evaluation.compare_with_base,
        must_beat_base=plan.evaluation.must_beat_base,
        autoscaling=plan.endpoint.autoscaling is not None,
        approval=plan.approval,
        **status.shown,
    )


def _result(outcome: str, run_id: str, **choices: Any) -> Payload:
    """What the state machine chooses by, and what it shows."""
    names = ("parquet", "deploy", "compare_with_base", "must_beat_base", "autoscaling", "approval")
    return {
        "outcome": outcome,
        "run_id": run_id,
        "approval_seconds": int(settings().approval_hours * 3600),
        **dict.fromkeys(names, False),
        **choices,
    }


def _redeploy(store: RunStore, layout: RunLayout, execution_arn: str, terms: Payload) -> Payload:
    """Takes an ended run over for this execution, and checks what must hold."""
    run_id, status = layout.run_id, read_status(store, layout.run_id)
    if not store.is_owned_by(run_id, execution_arn):
        if not status.state.is_final:
            return _result("duplicate", run_id)
        store.hand_over(run_id, execution_arn)
    link = {"Execution": execution_link(settings().aws_region, execution_arn)}
    status = record(
        store,
        run_id,
        STATE,
        "Deploying the model of this run once more",
        execution_arn=execution_arn,
        state=RunState.RUNNING,
        error=None,
        links=status.links | link,
    )
    plan = store.load(layout.plan, RunPlan)
    endpoint = plan.endpoint.model_copy(update={"deploy": True} | terms)
    plan = plan.model_copy(update={"endpoint": EndpointPlan.model_validate(endpoint.model_dump())})
    has_model = bool(status.training_job) and not store.is_empty(layout.model_artifact(status.training_job))
    checklist = check_deployment(plan, has_model)
    if checklist.findings:
        raise RunRefused(checklist.findings)
    store.save(layout.plan, plan)
    return _result(
        "redeploy",
        run_id,
        deploy=True,
        autoscaling=plan.endpoint.autoscaling is not None,
        approval=plan.approval,
        **status.shown,
    )
