"""The event on EventBridge's default bus about the end of a run, for other software.

A function returns the detail; the state machine sends it, with source and type. The detail has no text from an upload:
an error is its code alone.
"""

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from finetuning.lazy_model import LazyModel
from finetuning.report.messages import ReportLink
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunState, RunStatus, Verdict

SCHEMA_ID = "urn:finetune-llama-on-aws:run-event.schema.json"


class RunEvent(LazyModel):
    """The detail of the event that is sent when a run has succeeded or failed."""

    schema_version: Literal["1"] = Field(
        description="Fields may be added under the same version; it changes if one is removed or means something else.",
    )
    stage: str = Field(description="The stage the run belongs to.")
    run_id: str
    state: Literal["succeeded", "failed"]
    redeployment: bool = Field(
        description="True if the model of a run that had ended was deployed again; the state is that deployment's."
    )
    failed_step: str | None = Field(description="The state in which the run failed.")
    error_code: str | None = Field(description="Why it failed: a code of the runbook.")
    verdict: Verdict | None = Field(description="Whether tuning helped; null if the run was not evaluated.")
    model_id: str | None = Field(description="JumpStart's id of the base model; null for a run that was not planned.")
    model_package_arn: str | None = Field(description="The tuned model in the model registry.")
    training_cost_usd: float | None = Field(description="Billed seconds times price; null if no job has completed.")
    endpoint: str | None = Field(description="The endpoint that now serves the model; null if the run deployed none.")
    endpoint_usd_per_hour: float | None = Field(
        description="What that endpoint costs; null if its price is not known, and for a model that Bedrock serves."
    )
    report_s3_uri: str = Field(description="The report page.")
    report_console_url: str = Field(description="The report page in the AWS console.")
    started_at: datetime
    ended_at: datetime


def run_event(status: RunStatus, plan: RunPlan | None, *, stage: str, report: ReportLink) -> dict[str, Any]:
    """The detail, as JSON. `status` is final; `plan` is None for a run that ended before it was planned."""
    succeeded = status.state is RunState.SUCCEEDED
    deployed = plan.endpoint if plan and plan.endpoint.deploy and succeeded else None
    hourly = deployed.usd_per_hour if deployed and not deployed.is_imported else None
    error = status.error or {}
    return RunEvent(
        schema_version="1",
        stage=stage,
        run_id=status.run_id,
        state="succeeded" if succeeded else "failed",
        redeployment=status.redeployed_at is not None,
        failed_step=None if succeeded else status.step,
        error_code=error.get("code"),
        verdict=status.verdict,
        model_id=plan.model_id if plan else None,
        model_package_arn=status.model_package or None,
        training_cost_usd=status.cost.actual_usd,
        endpoint=status.endpoint if deployed else None,
        endpoint_usd_per_hour=round(hourly * deployed.instance_count, 4) if deployed and hourly is not None else None,
        report_s3_uri=report.s3_uri,
        report_console_url=report.console,
        started_at=status.redeployed_at or status.started_at,
        ended_at=status.updated_at,
    ).model_dump(mode="json")


def run_event_schema() -> dict[str, Any]:
    """The JSON Schema of the detail. `python -m finetuning.report.run_event > docs/run-event.schema.json` publishes
    it.
    """
    schema = RunEvent.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


if __name__ == "__main__":
    print(json.dumps(run_event_schema(), indent=2))
