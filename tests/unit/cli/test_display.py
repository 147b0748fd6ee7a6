"""What is shown in a terminal of eighty columns: no word, and no sum of money, is broken."""

from datetime import timedelta
from io import StringIO

from rich.console import Console, RenderableType

from cli.display.endpoints import endpoints_table
from cli.display.runs import runs_table
from cli.stage.endpoints import EndpointSummary
from tests.builders.runs import any_failed_status, any_status, at

LONG = "a-name-of-24-characters-0a1b2c3d"


def shown(renderable: RenderableType) -> str:
    console = Console(file=StringIO(), width=80)
    console.print(renderable)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO
    return text


def test_a_list_of_runs_breaks_no_state_and_no_sum() -> None:
    failed = any_failed_status(run_id=LONG, step="DescribeTraining")
    printed = shown(runs_table([any_status(run_id=LONG), failed], at(9000), 80))
    assert f"{LONG}  succeeded\n" in printed
    assert f"{LONG}  failed at DescribeTraining\n" in printed
    assert "USD billed" in printed


def test_a_list_of_endpoints_breaks_no_name_and_no_sum() -> None:
    endpoint = EndpointSummary(
        name=f"finetune-dev-{LONG}",
        status="InService",
        run_id=LONG,
        created_at=at(0),
        ttl_hours=8,
        idle_minutes=60,
        goes_at=at(0) + timedelta(hours=8),
        goes_because="its time is over",
        instance_type="ml.g5.12xlarge",
        instances=1,
        usd_per_hour=7.09,
        usd_so_far=14.18,
        calls_last_hour=2,
        calls_last_day=5,
    )
    printed = shown(endpoints_table([endpoint], at(7200), 80))
    for whole in (f"finetune-dev-{LONG}\n", "7.09 USD/h, 14.18 USD so far", "goes in 6:00:00: its time is over"):
        assert whole in printed
