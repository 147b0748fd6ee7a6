"""DescribeImport: checks whether the tuned model is imported yet, and records what Bedrock says of it."""

from datetime import UTC, datetime

from finetuning.aws.bedrock import bedrock
from finetuning.aws.errors import TRY_AGAIN
from finetuning.errors import Code, TransientAwsError
from finetuning.handlers.step import Payload, step
from finetuning.operations.imports import latest_import
from finetuning.operations.run import Run
from finetuning.runs.imports import import_outcome
from finetuning.runs.outcomes import Outcome
from finetuning.runs.waiting import wait_seconds


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, variant: "live"|"candidate"}` → `{outcome: "in_progress"|"in_service", wait_seconds}`.

    Raises `EndpointFailed` for an import that failed.
    """
    now, api, names = datetime.now(UTC), bedrock(), run.names
    found = latest_import(api, names)
    job = api.describe_import(found["jobArn"]) if found else None
    if job is None:
        raise TransientAwsError(
            Code.AWS_UNAVAILABLE, f"Bedrock does not find the import of {names.imported_model}.", TRY_AGAIN
        )
    if import_outcome(job, now) is Outcome.IN_PROGRESS:
        status = run.record(f"Import {job['jobName']}: {job['status']}")
        elapsed = (now - job["creationTime"]).total_seconds()
        return {"outcome": Outcome.IN_PROGRESS, "wait_seconds": wait_seconds(elapsed), **status.shown}
    model = api.find_model(names.imported_model)
    if model is None:
        raise TransientAwsError(
            Code.IMPORT_FAILED,
            f"The imported model {names.imported_model} does not exist any more.",
            "It was deleted while the run waited. The tuned model is kept: deploy it with `finetune deploy RUN`.",
        )
    described = api.describe_model(model["modelArn"])
    units = described.get("customModelUnits", {}).get("customModelUnitsPerModelCopy")
    corrected = _correct_price(run, units) if units else ""
    chat = "knows its chat template" if described.get("instructSupported") else "takes prompts as text only"
    status = run.record(
        f"Imported {names.imported_model}: {described.get('modelArchitecture', 'architecture unknown')}, "
        f"{units or 'an unknown number of'} custom model unit{'' if units == 1 else 's'} a copy{corrected}; Bedrock "
        f"{chat}",
        imported_model=model["modelArn"],
    )
    return {"outcome": Outcome.IN_SERVICE, "wait_seconds": 0, **status.shown}


def _correct_price(run: Run, units: int) -> str:
    """Keeps the price for these units in the plan, which was made with assumed ones; returns what changed, or ""."""
    plan = run.plan
    endpoint = plan.endpoint.with_units(units)
    if endpoint.import_price is None or endpoint == plan.endpoint:
        return ""
    run.save_plan(plan.model_copy(update={"endpoint": endpoint}))
    return f" (not as planned: it costs {endpoint.import_price.in_words})"
