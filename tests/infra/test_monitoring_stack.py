import json
import re
from collections import Counter
from typing import Any

from finetuning.metrics import (
    CODE,
    ENDPOINTS_LOG_GROUP,
    NAMESPACE,
    SERVICE,
    STEP,
    TRAINING_LOG_GROUP,
    ProductMetric,
)
from finetuning_cdk.constructs.log_queries import QUERIES
from finetuning_cdk.constructs.run_dashboard import ANY_JOB, LOSSES
from tests.infra.synthesis import ROOT, Synthesised

PUBLISHED = {
    "AWS/States": {f"Executions{what}" for what in ("Started", "Succeeded", "Failed", "TimedOut", "Aborted")},
    "AWS/Lambda": {"Throttles"},
    "AWS/SageMaker": {"Invocations", "ModelLatency", "Invocation4XXErrors", "Invocation5XXErrors"},
    TRAINING_LOG_GROUP: {"GPUUtilization", "GPUMemoryUtilization", *LOSSES},
    ENDPOINTS_LOG_GROUP: {"GPUUtilization"},
}
"""By namespace, from the services' guides ("Monitoring … with CloudWatch"); the losses from JumpStart's documents."""
SPECS = ROOT / "cli" / "finetuning_cli" / "facts" / "jumpstart" / "community_models"


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


def test_the_names_of_alarms_are_for_people_and_no_function_may_delete_them(stage: Synthesised) -> None:
    """A function may set and delete the alarms of endpoints, whose names begin with the stage's prefix."""
    prefix = stage.stage.node.id
    names = {alarm["Properties"]["AlarmName"] for alarm in stage.resources("AWS::CloudWatch::Alarm").values()}
    assert {f"A run failed ({prefix})", f"SweepEndpoints does not run ({prefix})"} < names
    assert not [name for name in names if name.startswith(prefix)]


def test_a_sweeper_that_does_not_run_raises_an_alarm(stage: Synthesised) -> None:
    stage.templates["monitoring"].has_resource_properties(
        "AWS::CloudWatch::Alarm",
        {"MetricName": "Invocations", "TreatMissingData": "breaching", "ComparisonOperator": "LessThanThreshold"},
    )


# The dashboard


def dashboard(stage: Synthesised) -> list[dict[str, Any]]:
    widgets: list[dict[str, Any]] = stage.dashboard()["widgets"]
    return widgets


def test_the_widgets_fill_24_columns_without_holes_or_overlaps(stage: Synthesised) -> None:
    widgets = dashboard(stage)
    covered = Counter(
        (x, y)
        for widget in widgets
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    )
    bottom = max(widget["y"] + widget["height"] for widget in widgets)
    assert covered == Counter((x, y) for x in range(24) for y in range(bottom))


def test_the_first_row_says_what_costs_money_now_and_what_failed_today(stage: Synthesised) -> None:
    now, today = (widget["properties"] for widget in dashboard(stage) if widget["y"] == 0)
    shown = {line[1] for line in now["metrics"]}
    assert shown == {"EndpointsInService", "TrainingJobsRunning", "EndpointsUsdPerHour", "NextExpiryHours"}
    assert {(line[-1]["period"], line[-1]["stat"]) for line in now["metrics"]} == {(900, "Maximum")}
    assert "ExecutionsFailed" in {line[1] for line in today["metrics"]}
    assert {line[-1]["period"] for line in today["metrics"]} == {86_400}


def test_a_stage_that_imports_shows_how_many_models_are_in_bedrock(importing: Synthesised) -> None:
    now = next(widget["properties"] for widget in dashboard(importing) if widget["y"] == 0)
    assert "ImportedModels" in {line[1] for line in now["metrics"]}


def test_every_metric_is_one_of_ours_or_one_that_aws_publishes(stage: Synthesised) -> None:
    """By any other name CloudWatch finds nothing and shows an empty graph."""
    for namespace, name in drawn(stage):
        published = {str(metric) for metric in ProductMetric} if namespace == NAMESPACE else PUBLISHED[namespace]
        assert name in published, (namespace, name)


def drawn(stage: Synthesised) -> set[tuple[str, str]]:
    """The metrics of all graphs: namespace and name."""
    found = set()
    for widget in dashboard(stage):
        for line in widget["properties"].get("metrics", []):
            if isinstance(line[0], dict):
                (schema, name), *more = re.findall(r'\{([^}]+)\} MetricName="([^"]+)"', line[0]["expression"])
                assert not more
                found.add((schema.partition(",")[0].strip('"'), name))
            else:
                found.add((line[0], line[1]))
    return found


def test_the_training_graphs_follow_the_variable_and_show_all_jobs_at_first(stage: Synthesised) -> None:
    (variable,) = stage.dashboard()["variables"]
    assert (variable["type"], variable["pattern"]) == ("pattern", ANY_JOB)
    assert variable["defaultValue"] == f"{stage.stage.node.id}-"
    follows = {w["properties"]["title"] for w in dashboard(stage) if ANY_JOB in json.dumps(w)}
    assert follows == {"Loss: training and validation", "GPUs and their memory (%, 100 for each GPU)"}


def test_the_steps_are_the_top_five(stage: Synthesised) -> None:
    steps = [w["properties"] for w in dashboard(stage)][-4:-1]
    assert [each["title"] for each in steps] == ["Longest call (s)", "Errors, and refused uploads", "Throttled calls"]
    for line in (line[0]["expression"] for each in steps for line in each["metrics"]):
        assert re.match(r"SLICE\(SORT\(SEARCH\(.*\), MAX, DESC\), 0, 5\)", line), line


def test_monitoring_refers_to_few_things_of_the_workflow(stage: Synthesised) -> None:
    """What it refers to cannot be removed or renamed while it is deployed."""
    text = json.dumps(stage.templates["monitoring"].to_json())
    referred = set(re.findall(r'"Fn::ImportValue": "([^"]+)"', text))
    assert len([name for name in referred if "-workflow:" in name]) == 12


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
    searched = [
        line[0]["expression"]
        for widget in dashboard(stage)
        for line in widget["properties"].get("metrics", [])
        if isinstance(line[0], dict) and NAMESPACE in line[0]["expression"]
    ]
    by_step = f'{{{NAMESPACE},{SERVICE},{STEP}}} MetricName="{ProductMetric.STEP_DURATION}"'
    assert any(by_step in search for search in searched)
    assert any(f'{{{NAMESPACE},{SERVICE},{CODE}}} MetricName="{ProductMetric.RUN_FAILED}"' in s for s in searched)


def titles(stage: Synthesised) -> set[str]:
    return {widget["properties"].get("title", "") for widget in dashboard(stage)}


def test_the_dashboard_shows_what_a_person_waiting_for_a_run_needs(stage: Synthesised) -> None:
    assert {
        "Runs",
        "Failed runs by error code",
        "Why runs failed, latest first",
        "Loss: training and validation",
        "GPUs and their memory (%, 100 for each GPU)",
        "Rows",
        "Rows refused, by reason",
        "Invocations",
        "Latency p99 (s)",
        "USD per hour",
        "Longest call (s)",
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
    limits = (f" {prefix}-'", f'"{prefix}"', f" {ANY_JOB}'")
    assert all(any(limit in search for limit in limits) for search in searches)


def test_the_losses_are_defined_in_jumpstart_documents() -> None:
    documents = list(SPECS.glob("*/*.json"))
    assert documents
    for document in documents:
        defined = {metric["Name"] for metric in json.loads(document.read_text())["metrics"]}
        assert set(LOSSES) <= defined, document


def test_the_dashboard_links_to_the_console(stage: Synthesised) -> None:
    guide = dashboard(stage)[-1]["properties"]["markdown"]
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
