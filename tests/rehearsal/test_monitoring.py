"""What watches the product is there as deployed, and a run leaves in the logs what it is watched by."""

import json
import re
from typing import Any

import pytest

from finetuning_cdk.constructs.log_queries import QUERIES
from tests.rehearsal.support.product import Product, any_chats

PREFIX = "finetune-dev"
CHATS = b"".join(any_chats())


@pytest.fixture(scope="module")
def failed(product: Product) -> dict[str, Any]:
    """status.json of a run whose data is prepared and whose job finds no capacity."""
    product.emulator.inject("capacity", message="nothing left")
    status = product.ended(product.submit(CHATS, training={"fallback_instance_types": [], "capacity_wait_hours": 0}))
    for execution in product.executions_of(status["run_id"]):
        product.execution_ended(execution)
    # A function's lines reach its log a moment after its answer.
    product.until(status["run_id"], lambda _: "RunFailed" in metrics(product, "report_failure", status["run_id"]))
    return status


def function(product: Product, handler: str) -> dict[str, Any]:
    """The deployed function of that handler."""
    deployed = [f for page in pages(product, "lambda", "list_functions") for f in page["Functions"]]
    (found,) = [f for f in deployed if f["Handler"] == f"finetuning.handlers.{handler}.handler"]
    return dict(found)


def pages(product: Product, service: str, operation: str, **request: Any) -> list[dict[str, Any]]:
    return list(product.emulator.client(service).get_paginator(operation).paginate(**request))


def lines(product: Product, handler: str) -> list[dict[str, Any]]:
    """The JSON lines among it."""
    return [json.loads(message) for message in product.log(handler) if message.startswith("{")]


def metrics(product: Product, handler: str, run_id: str) -> dict[str, Any]:
    """The metrics that a step wrote for a run, each line in CloudWatch's embedded metric format."""
    found = [line for line in lines(product, handler) if "_aws" in line and line.get("run_id") == run_id]
    for line in found:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "FineTuning"
        assert line["service"] == PREFIX
        assert {"service"} < set(directive["Dimensions"][0]) <= {"service", "step", "code"}
    return {name: value for line in found for name, value in line.items()}


def test_the_dashboard_is_deployed_and_its_functions_are_those_deployed(product: Product) -> None:
    cloudwatch = product.emulator.client("cloudwatch")
    (entry,) = [d for d in cloudwatch.list_dashboards()["DashboardEntries"] if PREFIX in d["DashboardName"]]
    body = cloudwatch.get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"]
    assert json.loads(body)["widgets"]
    assert len(json.loads(body)["variables"]) == 1
    assert function(product, "report_failure")["LoggingConfig"]["LogGroup"] in body
    assert product.artifacts in body


def test_the_alarms_are_deployed_and_each_tells_a_topic(product: Product) -> None:
    alarms = product.emulator.client("cloudwatch").describe_alarms()["MetricAlarms"]
    ours = [alarm for alarm in alarms if alarm["AlarmName"].endswith(f" ({PREFIX})")]
    assert len(ours) >= 11
    topics = {topic["TopicArn"] for topic in product.emulator.client("sns").list_topics()["Topics"]}
    assert {action for alarm in ours for action in alarm["AlarmActions"]} <= topics


def test_the_queries_are_saved_with_log_groups_that_exist(product: Product) -> None:
    logs = product.emulator.client("logs")
    saved = logs.describe_query_definitions(queryDefinitionNamePrefix=f"{PREFIX}/")["queryDefinitions"]
    assert {query["name"]: query["queryString"] for query in saved} == {f"{PREFIX}/{q.name}": q.text for q in QUERIES}
    groups = {
        group["logGroupName"] for page in pages(product, "logs", "describe_log_groups") for group in page["logGroups"]
    }
    assert {group for query in saved for group in query["logGroupNames"]} <= groups


def test_the_budget_is_deployed_and_tells_the_topic_of_the_stage(product: Product) -> None:
    budgets, account = product.emulator.client("budgets"), {"AccountId": "0" * 12}
    (budget,) = [b for b in budgets.describe_budgets(**account)["Budgets"] if b["BudgetName"].startswith(PREFIX)]
    assert budget["CostFilters"] == {"TagKeyValue": ["user:finetune:stage$dev"]}
    heard = budgets.describe_notifications_for_budget(**account, BudgetName=budget["BudgetName"])["Notifications"]
    assert sorted((n["NotificationType"], n["Threshold"]) for n in heard) == [
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]
    subscribers = budgets.describe_subscribers_for_notification(
        **account, BudgetName=budget["BudgetName"], Notification=heard[0]
    )["Subscribers"]
    topics = [topic["TopicArn"] for topic in product.emulator.client("sns").list_topics()["Topics"]]
    assert [subscriber["Address"] for subscriber in subscribers] == [arn for arn in topics if PREFIX in arn]


def test_a_run_s_metrics_are_in_the_logs_of_its_steps(product: Product, failed: dict[str, Any]) -> None:
    run_id = failed["run_id"]
    data = metrics(product, "finish_dataset", run_id)
    assert data["DatasetRowsKept"] == [len(CHATS.splitlines())]
    assert data["DatasetRowsRefused"] == [0]
    assert "TrainingEstimatedUsd" in metrics(product, "start_training", run_id)
    failure = metrics(product, "report_failure", run_id)
    assert (failure["RunFailed"], failure["code"]) == ([1], failed["error"]["code"])


def test_every_line_of_a_step_names_the_run(product: Product, failed: dict[str, Any]) -> None:
    for handler in ("plan_run", "plan_shards", "finish_dataset", "start_training", "report_failure"):
        logged = lines(product, handler)
        assert logged
        assert all(line.get("run_id") for line in logged), handler
    (why,) = [line for line in logged if line["run_id"] == failed["run_id"] and "error" in line]
    assert why["error"]["code"] == failed["error"]["code"]


def test_what_a_step_says_to_x_ray_harms_nothing_where_nobody_listens(product: Product, failed: dict[str, Any]) -> None:
    assert function(product, "plan_run")["TracingConfig"] == {"Mode": "Active"}
    said = "\n".join(product.log("plan_run"))
    assert said
    assert not re.search("x-ray|segment", said, re.IGNORECASE)  # "xray_trace_id" is in the lines that were traced


def outputs(product: Product, run_id: str) -> dict[str, dict[str, Any]]:
    """The last output of each state of the run's execution."""
    (execution,) = product.executions_of(run_id)
    history = pages(product, "stepfunctions", "get_execution_history", executionArn=execution["executionArn"])
    events = [event for page in history for event in page["events"]]
    exits = [event["stateExitedEventDetails"] for event in events if "stateExitedEventDetails" in event]
    return {details["name"]: json.loads(details["output"]) for details in exits}


def test_each_state_s_output_is_small_and_says_what_happened_and_where_to_look(
    product: Product, failed: dict[str, Any]
) -> None:
    said = outputs(product, failed["run_id"])
    assert {"PlanRun", "PlanShards", "FinishDataset", "StartTraining", "ReportFailure"} <= said.keys()
    for name in ("PlanRun", "PlanShards", "FinishDataset", "StartTraining", "ReportFailure"):
        assert said[name]["message"], name
        # The event is for other software: it has a schema of its own.
        for_people = {key: value for key, value in said[name].items() if key != "event"}
        assert len(json.dumps(for_people)) < 2000, name
    assert {"Execution", "Files"} <= said["PlanRun"]["links"].keys()
    assert failed["training_job"] in said["StartTraining"]["links"]["Training job"]
    assert "report.html" in said["ReportFailure"]["links"]["Report"]
