"""PlanRun: checks the upload and plans the run before anything costs money."""

from datetime import UTC, datetime
from typing import Any

from finetuning.aws.upload_bucket import upload_bucket
from finetuning.errors import Code, FineTuningError, RunRefused
from finetuning.handlers.step import Payload, step
from finetuning.operations.preflight import check_deployment, preflight, price_list, shards_at_once
from finetuning.operations.promotion import read_promotion
from finetuning.operations.run import Run
from finetuning.planning.endpoint_terms import hosting_option
from finetuning.planning.serving_target import retarget
from finetuning.report.console_links import execution_link, files_link
from finetuning.runs.endpoint_plan import EndpointPlan
from finetuning.runs.redeploy import read_terms
from finetuning.runs.status import Cost, RunState
from finetuning.runs.uploads import Upload, event_word
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{bucket, key, version_id, requester, request_id, execution_arn, redeploy}` → `{outcome, run_id, parquet, deploy,
    compare_with_base, judge, must_beat_base, imported, autoscaling, approval, approval_seconds, promoted,
    shards_at_once}`.

    The outcome is `duplicate` if another execution owns the run; then nothing is written. With `redeploy`, an object
    that may have `ttl_hours`, `instance_type` and `target`, the model that the run has trained is deployed again, and
    the outcome is `redeploy`. It is `promotion` for a run.json that names a model of another account, and `planned` for
    any other. Raises `RunRefused` with all findings, and `FineTuningError`
    (UPLOAD_NOT_FOUND) for an object that is not in the stage's upload bucket.
    """
    caller = {name: event_word(event.get(name)) for name in ("requester", "request_id")}
    upload, execution_arn = Upload(event["bucket"], event["key"], event["version_id"], **caller), event["execution_arn"]
    _require_own(upload)
    if event.get("redeploy") is not None:
        return _redeploy(run, execution_arn, read_terms(event["redeploy"]))
    if not run.is_owned_by(execution_arn):
        return _result("duplicate", run)
    region, files = settings().aws_region, files_link(settings().aws_region, run.store.bucket, run.layout.root)
    run.record(
        f"Planning the run of {upload.key}",
        execution_arn=execution_arn,
        state=RunState.RUNNING,
        error=None,
        links={"Execution": execution_link(region, execution_arn), "Files": files},
    )
    run_json = upload_bucket(upload).run_json()
    run.store.write(run.layout.request, run_json)
    if request := read_promotion(run_json):
        run.record(f"Promoting {request.promote}")
        return _result("promotion", run, deploy=True, approval=True, promoted=True, **run.status.shown)
    plan, checklist = preflight(upload, run_json)
    if plan is None or checklist.findings:
        run.record("The preflight found problems", checks=checklist.checks)
        raise RunRefused(checklist.findings)
    run.save_plan(plan)
    estimate = plan.training.estimate
    status = run.record(
        f"Planned: {plan.model_id} {plan.model_version} on {plan.training.instance_types[0]}",
        checks=plan.checks,
        cost=Cost(estimate_usd=estimate.usd, assumptions=estimate.assumptions),
    )
    return _result(
        "planned",
        run,
        parquet=plan.parquet,
        deploy=plan.endpoint.deploy,
        compare_with_base=plan.evaluation.compare_with_base,
        judge=plan.evaluation.judge is not None,
        must_beat_base=bool(plan.evaluation.must_beat_base),
        imported=plan.endpoint.is_imported,
        autoscaling=plan.endpoint.autoscaling is not None,
        approval=plan.approval,
        shards_at_once=shards_at_once(region),
        **status.shown,
    )


def _result(outcome: str, run: Run, **choices: Any) -> Payload:
    """What the state machine decides by, and what its console shows."""
    names = (
        *("parquet", "deploy", "compare_with_base", "judge", "must_beat_base", "imported", "autoscaling", "approval"),
        "promoted",
    )
    return {
        "outcome": outcome,
        "run_id": run.run_id,
        "approval_seconds": int(settings().approval_hours * 3600),
        "shards_at_once": 1,
        **dict.fromkeys(names, False),
        **choices,
    }


def _require_own(upload: Upload) -> None:
    """Anyone who may start executions chooses their input, and with it the bucket."""
    own = settings().upload_bucket
    if upload.bucket != own:
        raise FineTuningError(
            Code.UPLOAD_NOT_FOUND,
            f"The execution was started for the bucket {upload.bucket}; the stage's runs read {own} only.",
            "Upload the files with `finetune submit`, which starts the run.",
        )


def _redeploy(run: Run, execution_arn: str, terms: dict[str, Any]) -> Payload:
    """Makes this execution the owner of a run that has ended, and checks that its model can be deployed."""
    if not run.is_owned_by(execution_arn) and not run.take_over(execution_arn):
        return _result("duplicate", run)
    link = {"Execution": execution_link(settings().aws_region, execution_arn)}
    status = run.record(
        "Deploying the model of this run again",
        execution_arn=execution_arn,
        redrives=0,
        state=RunState.RUNNING,
        error=None,
        endpoint_turn="",
        endpoint_wait_began=None,
        deployment_began=None,
        links=link,
        redeployed_at=datetime.now(UTC),
    )
    endpoint = run.plan.endpoint
    if instance_type := terms.pop("instance_type", None):
        price = price_list(settings().aws_region).price(instance_type, "hosting")
        endpoint = endpoint.on(hosting_option(instance_type, {instance_type: price} if price else {}))
    plan = run.plan.model_copy(update={"endpoint": endpoint})
    if wanted := terms.pop("target", None):
        plan = plan.model_copy(update={"endpoint": retarget(plan, wanted, settings())})
        if wanted == "bedrock" and (endpoint.autoscaling or endpoint.data_capture_percentage):
            run.record("An imported model has neither autoscaling nor data capture")
    endpoint = EndpointPlan.model_validate(plan.endpoint.model_dump() | {"deploy": True} | terms)
    plan = plan.model_copy(update={"endpoint": endpoint})
    checklist = check_deployment(plan, run.has_tuned_model())
    if checklist.findings:
        raise RunRefused(checklist.findings)
    run.save_plan(plan)
    return _result(
        "redeploy",
        run,
        deploy=True,
        imported=plan.endpoint.is_imported,
        autoscaling=plan.endpoint.autoscaling is not None,
        approval=plan.approval,
        # Until this account has registered the model as its own, the other account's approval counts as well.
        promoted=plan.promotion is not None and not status.model_package,
        **status.shown,
    )
