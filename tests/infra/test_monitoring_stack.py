import json

from tests.infra.synthesis import Synthesised


def test_every_alarm_tells_the_team(stage: Synthesised) -> None:
    for alarm in stage.resources("AWS::CloudWatch::Alarm").values():
        assert "Topic" in json.dumps(alarm["Properties"]["AlarmActions"])


def test_there_is_an_alarm_for_every_failure_nobody_else_reports(stage: Synthesised) -> None:
    alarms = stage.resources("AWS::CloudWatch::Alarm")
    names = {id.removeprefix("Alarms")[:-8] for id in alarms}
    assert names == {
        "RunsFailed",
        "RunsTimedOut",
        "CleanUpRunErrors",
        "SweepEndpointsErrors",
        "RemoveRunsErrors",
        "UndeliveredEvents",
        "SweeperSilent",
    }


def test_a_sweeper_that_does_not_run_is_an_alarm(stage: Synthesised) -> None:
    stage.templates["monitoring"].has_resource_properties(
        "AWS::CloudWatch::Alarm",
        {"MetricName": "Invocations", "TreatMissingData": "breaching", "ComparisonOperator": "LessThanThreshold"},
    )


def test_the_dashboard_shows_training_and_endpoints_of_this_stage(stage: Synthesised) -> None:
    (dashboard,) = stage.resources("AWS::CloudWatch::Dashboard").values()
    body = json.dumps(dashboard["Properties"]["DashboardBody"])
    prefix = stage.stage.node.id
    assert "/aws/sagemaker/TrainingJobs" in body
    assert f"{prefix}-" in body
