import json
from itertools import combinations
from typing import Any

from finetuning.metrics import CODE, NAMESPACE, SERVICE, STEP, ProductMetric
from infra.constructs.log_queries import QUERIES
from infra.constructs.run_dashboard import LOSSES
from tests.infra.synthesis import ROOT, Synthesised

SPECS = ROOT / "facts" / "jumpstart" / "community_models"


def test_every_alarm_notifies_the_team(stage: Synthesised) -> None:
    for alarm in stage.resources("AWS::CloudWatch::Alarm").values():
        assert "Topic" in json.dumps(alarm["Properties"]["AlarmActions"])


def test_there_is_an_alarm_for_every_failure_that_nothing_else_reports(stage: Synthesised) -> None:
    alarms = stage.resources("AWS::CloudWatch::Alarm")
    names = {id.removeprefix("Alarms")[:-8] for id in alarms}
    assert names == {
        "RunsFailed",
        "RunsTimedOut",
        "CleanUpRunErrors",
        "SweepEndpointsErrors",
        "SweepRunsErrors",
        "RemoveRunsErrors",
        "CleanUpRunThrottles",
        "SweepEndpointsThrottles",
        "SweepRunsThrottles",
        "RemoveRunsThrottles",
        "PrepareShardThrottles",
        "UndeliveredEvents",
        "SweepEndpointsSilent",
        "SweepRunsSilent",
    }


def test_a_sweeper_that_does_not_run_raises_an_alarm(stage: Synthesised) -> None:
    stage.templates["monitoring"].has_resource_properties(
        "AWS::CloudWatch::Alarm",
        {"MetricName": "Invocations", "TreatMissingData": "breaching", "ComparisonOperator": "LessThanThreshold"},
    )


# The dashboard


def dashboard(stage: Synthesised) -> list[dict[str, Any]]:
    """The widgets, with «name» for what CloudFormation fills in."""
    (resource,) = stage.resources("AWS::CloudWatch::Dashboard").values()
    body = resource["Properties"]["DashboardBody"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else f"«{next(iter(part.values()))}»" for part in body)
    widgets: list[dict[str, Any]] = json.loads(text)["widgets"]
    return widgets


def test_the_widgets_fit_24_columns_without_overlapping(stage: Synthesised) -> None:
    def cells(widget: dict[str, Any]) -> set[tuple[int, int]]:
        columns = range(widget["x"], widget["x"] + widget["width"])
        return {(x, y) for x in columns for y in range(widget["y"], widget["y"] + widget["height"])}

    covered = [cells(widget) for widget in dashboard(stage)]
    assert all(x < 24 for each in covered for x, _ in each)
    assert not [pair for pair in combinations(covered, 2) if pair[0] & pair[1]]


def test_the_dashboard_is_within_cloudwatch_limits(stage: Synthesised) -> None:
    widgets = dashboard(stage)
    assert len(widgets) <= 500
    for widget in widgets:
        lines = [line[0] for line in widget["properties"].get("metrics", []) if isinstance(line[0], dict)]
        searches = [line["expression"] for line in lines]
        assert len(searches) <= 5, "search expressions of one graph"
        assert all(len(search) <= 1024 for search in searches)


def test_our_own_metrics_are_shown_with_the_dimensions_they_are_written_with(stage: Synthesised) -> None:
    """By any other dimension, or another handler's name, CloudWatch finds nothing and shows an empty graph."""
    shown = [
        line for widget in dashboard(stage) for line in widget["properties"].get("metrics", []) if line[0] == NAMESPACE
    ]
    assert len(shown) > 5
    for _, name, *dimensions in shown:
        values = dict(zip(dimensions[::2], dimensions[1::2], strict=False))
        assert values == {SERVICE: stage.stage.node.id, STEP: ProductMetric(name).handlers[0]}
    (failures,) = [
        line[0]["expression"]
        for widget in dashboard(stage)
        for line in widget["properties"].get("metrics", [])
        if isinstance(line[0], dict) and NAMESPACE in line[0]["expression"]
    ]
    assert f'{{{NAMESPACE},{SERVICE},{CODE}}} MetricName="{ProductMetric.RUN_FAILED}"' in failures


def titles(stage: Synthesised) -> set[str]:
    return {widget["properties"].get("title", "") for widget in dashboard(stage)}


def test_the_dashboard_shows_what_a_person_waiting_for_a_run_needs(stage: Synthesised) -> None:
    assert {
        "Runs",
        "Failed runs by error code",
        "Why runs failed, latest first",
        "Training loss",
        "Validation loss",
        "GPU utilization of jobs (%, 100 for each GPU)",
        "Memory of jobs (%)",
        "Rows",
        "Rows refused, by reason",
        "Invocations",
        "Latency p99 (s)",
        "USD per hour",
        "Longest call (ms)",
        "What the sweeper deleted",
    } <= titles(stage)


def test_the_latency_that_sagemaker_measures_in_microseconds_is_shown_in_seconds(stage: Synthesised) -> None:
    (widget,) = [w for w in dashboard(stage) if w["properties"].get("title") == "Latency p99 (s)"]
    ((line,),) = widget["properties"]["metrics"]
    assert 'MetricName="ModelLatency"' in line["expression"]
    assert line["expression"].endswith(", 'p99', 300) / 1000000")


def test_only_jobs_and_endpoints_of_this_stage_are_searched(stage: Synthesised) -> None:
    searches = [
        line[0]["expression"]
        for widget in dashboard(stage)
        for line in widget["properties"].get("metrics", [])
        if isinstance(line[0], dict)
    ]
    prefix = stage.stage.node.id
    assert len(searches) > 5
    assert all(f' {prefix}-"' in search or f" {prefix}-'" in search or f'"{prefix}"' in search for search in searches)


def test_the_losses_are_defined_in_jumpstart_documents() -> None:
    for document in SPECS.glob("*/*.json"):
        defined = {metric["Name"] for metric in json.loads(document.read_text())["metrics"]}
        assert set(LOSSES.values()) <= defined, document


def test_the_dashboard_links_to_the_console(stage: Synthesised) -> None:
    guide = dashboard(stage)[0]["properties"]["markdown"]
    for place in ("states/home", "s3/buckets", "#/jobs", "#/endpoints", "logs-insights", "docs/runbook.md"):
        assert place in guide


# Saved queries


def test_every_query_is_saved_under_the_stage_name_with_the_logs_it_reads(stage: Synthesised) -> None:
    saved = {q["Properties"]["Name"]: q["Properties"] for q in stage.resources("AWS::Logs::QueryDefinition").values()}
    assert set(saved) == {f"{stage.stage.node.id}/{query.name}" for query in QUERIES}
    functions = len(stage.resources("AWS::Lambda::Function"))
    for query in QUERIES:
        properties = saved[f"{stage.stage.node.id}/{query.name}"]
        assert properties["QueryString"] == query.text
        assert len(properties["LogGroupNames"]) == (len(query.of) or functions) <= 50


# The budget


def test_there_is_no_budget_unless_the_stage_sets_one(stage: Synthesised) -> None:
    assert not stage.resources("AWS::Budgets::Budget")
    assert "budgets.amazonaws.com" not in json.dumps([t.to_json() for t in stage.templates.values()])


def test_the_budget_counts_by_the_stage_tag_and_notifies_the_topic(with_options: Synthesised) -> None:
    (budget,) = with_options.resources("AWS::Budgets::Budget").values()
    assert budget["Properties"]["Budget"] == {
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": 200, "Unit": "USD"},
        "CostFilters": {"TagKeyValue": ["user:finetune:stage$dev"]},
    }
    for notification in budget["Properties"]["NotificationsWithSubscribers"]:
        (subscriber,) = notification["Subscribers"]
        assert subscriber["SubscriptionType"] == "SNS"
        assert "Topic" in json.dumps(subscriber["Address"])


def test_budgets_may_publish_to_the_encrypted_topic_for_this_account_only(with_options: Synthesised) -> None:
    policies = [
        *(p["Properties"]["PolicyDocument"] for p in with_options.resources("AWS::SNS::TopicPolicy").values()),
        *(k["Properties"]["KeyPolicy"] for k in with_options.resources("AWS::KMS::Key").values()),
    ]
    allowed = [
        statement
        for policy in policies
        for statement in policy["Statement"]
        if statement.get("Principal") == {"Service": "budgets.amazonaws.com"}
    ]
    assert [statement["Action"] for statement in allowed] == ["sns:Publish", ["kms:Decrypt", "kms:GenerateDataKey*"]]
    for statement in allowed:
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_the_first_sweeps_run_before_their_alarms_are_created(stage: Synthesised) -> None:
    schedules = [schedule["Properties"] for schedule in stage.resources("AWS::Scheduler::Schedule").values()]
    assert len(schedules) == 2
    assert not [each for each in schedules if "StartDate" in each or each["FlexibleTimeWindow"] != {"Mode": "OFF"}]
    assert stage.stage.workflow in stage.stage.monitoring.dependencies
