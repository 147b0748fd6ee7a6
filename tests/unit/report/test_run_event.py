"""The event about the end of a run: its fields, its schema, and what is not in it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from finetuning.report.messages import ReportLink
from finetuning.report.run_event import run_event, run_event_schema
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import Cost, RunStatus, Verdict
from tests.builders.runs import RUN_ID, any_failed_status, any_plan, any_status, at

ROOT = Path(__file__).resolve().parents[3]
REPORT = ReportLink(f"s3://artifacts/runs/{RUN_ID}/report.html", "https://console", "https://signed?X-Amz-Signature=0")


def planned(**endpoint: Any) -> RunPlan:
    plan = any_plan()
    return plan.model_copy(update={"endpoint": plan.endpoint.model_copy(update=endpoint)})


def event(status: RunStatus, plan: RunPlan | None) -> dict[str, Any]:
    """The detail, which the published schema accepts."""
    detail = run_event(status, plan, stage="dev", report=REPORT)
    published = json.loads((ROOT / "docs" / "run-event.schema.json").read_text())
    jsonschema.validate(detail, published, format_checker=jsonschema.FormatChecker())
    return detail


def test_the_published_schema_is_current() -> None:
    published = json.loads((ROOT / "docs" / "run-event.schema.json").read_text())
    assert published == run_event_schema(), "python -m finetuning.report.run_event > docs/run-event.schema.json"
    jsonschema.Draft202012Validator.check_schema(published)
    assert set(published["required"]) == set(published["properties"])


def test_a_successful_run_names_its_result_cost_and_endpoint() -> None:
    package = "arn:aws:sagemaker:us-east-1:123456789012:model-package/a/1"
    status = any_status(verdict=Verdict.HELPED, model_package=package)
    plan = planned(usd_per_hour=37.69, instance_count=2)
    assert event(status, plan) == {
        "schema_version": "1",
        "stage": "dev",
        "run_id": RUN_ID,
        "state": "succeeded",
        "redeployment": False,
        "failed_step": None,
        "error_code": None,
        "verdict": "helped",
        "model_id": plan.model_id,
        "model_package_arn": package,
        "training_cost_usd": 38.75,
        "endpoint": status.endpoint,
        "endpoint_usd_per_hour": 75.38,
        "report_s3_uri": REPORT.s3_uri,
        "report_console_url": "https://console",
        "started_at": "2026-03-04T09:00:00Z",
        "ended_at": "2026-03-04T10:30:00Z",
    }


def test_an_imported_model_costs_nothing_by_the_hour() -> None:
    """The plan's price is that of the instances for a comparison with the base model."""
    detail = event(any_status(), planned(target="bedrock", usd_per_hour=2.03))
    assert detail["endpoint"] == any_status().endpoint
    assert detail["endpoint_usd_per_hour"] is None


def test_a_failed_run_has_its_error_s_code_and_no_text_of_the_upload() -> None:
    """A message may quote a row, and a signed link opens the page for anyone: both stay out of an event."""
    error = {"code": "DATASET_REFUSED", "message": "line 7: «my secret»", "fix": "Fix line 7."}
    detail = event(any_failed_status(error=error), any_plan())
    assert (detail["state"], detail["failed_step"], detail["error_code"]) == (
        "failed",
        "FinishDataset",
        "DATASET_REFUSED",
    )
    assert (detail["endpoint"], detail["endpoint_usd_per_hour"], detail["training_cost_usd"]) == (None, None, None)
    assert "secret" not in json.dumps(detail)
    assert "Signature" not in json.dumps(detail)


@pytest.mark.parametrize("deploy", [True, False])
def test_an_endpoint_is_named_only_where_one_was_requested_and_its_price_only_where_it_is_known(deploy: bool) -> None:
    detail = event(any_status(), planned(deploy=deploy, usd_per_hour=None))
    assert detail["endpoint"] == (any_status().endpoint if deploy else None)
    assert detail["endpoint_usd_per_hour"] is None


def test_the_price_of_several_instances_has_no_digits_that_no_bill_has() -> None:
    """7 × 7.09 is 49.629999999999995 in binary."""
    assert event(any_status(), planned(usd_per_hour=7.09, instance_count=7))["endpoint_usd_per_hour"] == 49.63


def test_a_run_that_was_not_planned_has_an_event() -> None:
    detail = event(any_failed_status(cost=Cost()), None)
    assert (detail["model_id"], detail["state"]) == (None, "failed")


def test_a_redeployment_says_so_and_has_its_own_beginning() -> None:
    detail = event(any_status(redeployed_at=at(86_400), updated_at=at(87_000)), any_plan())
    assert (detail["redeployment"], detail["started_at"]) == (True, "2026-03-05T09:00:00Z")
