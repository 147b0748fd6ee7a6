"""SweepEndpoints over a SageMaker of a few endpoints."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetuning.handlers import plan_run, sweep_endpoints
from finetuning.handlers.step import logger
from finetuning.operations import endpoint_life
from finetuning.runs.expiry import lifetime_tags
from finetuning.runs.plan import RunPlan
from finetuning.runs.tags import OWNER_TAG, RUN_TAG
from tests.builders.handlers import AnyContext, log_lines, metrics_in
from tests.builders.stage import Stage


class FakeSageMaker:
    """One endpoint of the run, made some hours ago, with two instances."""

    def __init__(self, run_id: str, hours_old: float) -> None:
        made = datetime.now(UTC) - timedelta(hours=hours_old)
        self.endpoint = {
            "EndpointName": f"finetune-dev-{run_id}",
            "EndpointArn": "arn",
            "EndpointConfigName": f"finetune-dev-{run_id}",
            "EndpointStatus": "InService",
            "CreationTime": made,
            "LastModifiedTime": made,
        }
        self.tagged = {OWNER_TAG: "finetune-dev", RUN_TAG: run_id, **lifetime_tags(ttl_hours=8, idle_minutes=6000)}
        self.deleted: list[str] = []

    def endpoints(self, prefix: str) -> list[dict[str, Any]]:
        return [self.endpoint]

    def tags(self, arn: str) -> dict[str, str]:
        return self.tagged

    def describe_endpoint(self, name: str) -> dict[str, Any]:
        return {**self.endpoint, "ProductionVariants": [{"CurrentInstanceCount": 2}]}

    def tag_endpoint(self, name: str, tags: dict[str, str]) -> None:
        self.tagged |= tags

    def endpoint_configs(self, prefix: str) -> list[str]:
        return []

    def models(self, prefix: str) -> list[str]:
        return []

    def delete_endpoint_config(self, name: str) -> None:
        self.deleted.append(name)

    delete_model = delete_endpoint_config

    def delete_endpoint(self, name: str) -> bool:
        self.deleted.append(name)
        return True


def swept(
    made: Stage, monkeypatch: pytest.MonkeyPatch, hours_old: float, **event: float
) -> tuple[FakeSageMaker, RunPlan]:
    """What a sweep did to the endpoint of a planned run."""
    upload = made.upload_run({"accept_eula": True})
    run_id = plan_run.handler(upload, AnyContext())["run_id"]
    fake = FakeSageMaker(run_id, hours_old)
    monkeypatch.setattr(sweep_endpoints, "sagemaker", lambda: fake)
    monkeypatch.setattr(sweep_endpoints, "notify", lambda *_: None)
    monkeypatch.setattr(endpoint_life, "invocations", lambda *_: [(datetime.now(UTC), 1.0)])
    sweep_endpoints.handler(event, AnyContext())
    return fake, RunPlan.model_validate_json(made.written(upload, "plan.json"))


def test_each_sweep_counts_the_instance_hours_since_the_last_and_their_price(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, plan = swept(stage, monkeypatch, hours_old=2, period_minutes=15)
    counted = next(line for line in metrics_in(capsys.readouterr().out) if "EndpointHours" in line)
    assert plan.endpoint.usd_per_hour is not None
    assert counted["EndpointHours"] == [0.5]
    assert counted["EndpointUsd"] == [pytest.approx(0.5 * plan.endpoint.usd_per_hour)]


def test_an_endpoint_younger_than_the_period_counts_from_its_making(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    swept(stage, monkeypatch, hours_old=0.1, period_minutes=15)
    counted = next(line for line in metrics_in(capsys.readouterr().out) if "EndpointHours" in line)
    assert counted["EndpointHours"] == [pytest.approx(0.2, abs=0.02)]


def test_a_sweep_by_hand_counts_no_cost(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    swept(stage, monkeypatch, hours_old=2)
    assert not [line for line in metrics_in(capsys.readouterr().out) if "EndpointHours" in line]


def test_an_endpoint_past_its_time_goes_and_the_log_says_why(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    fake, plan = swept(stage, monkeypatch, hours_old=9, period_minutes=15)
    (line,) = [line for line in log_lines(log.getvalue()) if line["message"] == "Deleted an endpoint"]
    assert fake.deleted == [line["endpoint"]] == [f"finetune-dev-{plan.run_id}"]
    assert "8 h" in line["reason"]
    assert line["run_id"] == plan.run_id
