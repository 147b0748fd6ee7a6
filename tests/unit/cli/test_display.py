"""Tables of runs and endpoints in narrow and wide terminals."""

import io
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from finetuning.datasets.dataset_report import Bucket, Statistics
from finetuning_cli.display.charts import length_histogram
from finetuning_cli.display.endpoints import endpoints_table
from finetuning_cli.display.runs import runs_table
from finetuning_cli.display.text import rounded
from finetuning_cli.stage.endpoints import EndpointSummary
from tests.builders.runs import RUN_ID, any_failed_status, any_status, at

LONG = "a-name-of-24-characters-0a1b2c3d"


def shown(renderable: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO
    return text


def test_a_narrow_list_of_runs_wraps_no_state_and_no_amount() -> None:
    failed = any_failed_status(run_id=LONG, step="DescribeTraining")
    printed = shown(runs_table([any_status(run_id=LONG), failed], at(9000), 80))
    assert f"{LONG}  succeeded\n" in printed
    assert f"{LONG}  failed at DescribeTraining\n" in printed
    assert "USD billed" in printed


def test_a_wide_list_of_runs_has_a_row_per_run_with_its_model_version() -> None:
    package = "arn:aws:sagemaker:us-east-1:123456789012:model-package/finetune-dev-faq/3"
    printed = shown(runs_table([any_status(model_package=package)], at(9000), 120), 120)
    row, below = printed.splitlines()[-3:-1]
    assert " ".join(row.split()) == f"{RUN_ID} succeeded 3.71 → 0.81 04 Mar 09:00 1:30:00 38.75 USD billed"
    assert below.split() == ["version", "3", "of", "finetune-dev-faq"]


def any_endpoint(**changes: Any) -> EndpointSummary:
    endpoint = EndpointSummary(
        name=f"finetune-dev-{LONG}",
        status="InService",
        run_id=LONG,
        created_at=at(0),
        ttl_hours=8,
        idle_minutes=60,
        expires_at=at(0) + timedelta(hours=8),
        expiry_reason="reached its limit",
        unless_used=False,
        instance_type="ml.g5.12xlarge",
        instances=1,
        usd_per_hour=7.09,
        usd_so_far=14.18,
        invocations_last_hour=2,
        invocations_last_day=5,
        openai_base_url="",
    )
    return endpoint.model_copy(update=changes)


def test_a_narrow_list_of_endpoints_wraps_no_name_and_no_amount() -> None:
    printed = shown(endpoints_table([any_endpoint()], at(7200), 80))
    for whole in (f"finetune-dev-{LONG}\n", "7.09 USD/h, 14.18 USD so far", "expires in 6 h (reached its limit)"):
        assert whole in printed


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize(
    ("changes", "seconds", "expiry"),
    [
        ({"unless_used": True}, 3600 * 8 - 3780, "in 1 h 3 min unless used"),
        ({}, 3600 * 8, "at the next sweep"),
        ({"expires_at": None}, 0, "never"),
        ({"expires_at": None, "ttl_hours": None}, 0, "by the stage's limits"),
    ],
)
def test_an_endpoint_says_when_it_expires(changes: dict[str, Any], seconds: float, expiry: str, width: int) -> None:
    assert expiry in shown(endpoints_table([any_endpoint(**changes)], at(seconds), width), width)


def test_the_total_cost_is_unknown_if_one_price_is_unknown() -> None:
    endpoints = [any_endpoint(), any_endpoint(usd_per_hour=None, usd_so_far=None)]
    assert "Total: unknown per hour" in shown(endpoints_table(endpoints, at(7200), 80))


@pytest.mark.parametrize(
    ("seconds", "text"), [(3780, "1 h 3 min"), (7200, "2 h"), (2759, "45 min"), (59, "less than 1 min")]
)
def test_a_duration_is_rounded_to_the_minute(seconds: float, text: str) -> None:
    assert rounded(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("rows", "text"), [(1, "1 row longer than 9 tokens is truncated"), (2, "2 rows longer than 9 tokens are truncated")]
)
def test_truncated_rows_are_counted_in_the_singular_or_plural(rows: int, text: str) -> None:
    statistics = Statistics(truncated=rows, max_input_length=9, histogram=[Bucket(at_least=8, below=16, rows=rows)])
    assert text in " ".join(shown(length_histogram(statistics)).split())
