"""The alarms of a stage."""

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

PERIOD = Duration.minutes(5)
SWEEPS_MISSED_FOR = Duration.hours(1)
SWEEPS = {
    "SweepEndpoints": "expired endpoints are not deleted and keep costing money",
    "SweepRuns": "uploads whose event was lost do not start, and interrupted clean-ups are not completed",
}
"""Each sweep, with the consequence when it does not run."""


class RunAlarms(Construct):
    """Alarms that notify the topic.

    The functions inside the workflow have none: a bad upload makes them raise, which fails the execution, and that has
    an alarm; the state machine retries throttled calls. `unattended` are the other functions, whose errors no
    execution shows, including the sweeps. `throttled` are those that may be called too often at once.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        prefix: str,
        topic: sns.ITopic,
        state_machine: sfn.IStateMachine,
        unattended: Mapping[str, lambda_.IFunction],
        throttled: Mapping[str, lambda_.IFunction],
        dead_letters: sqs.IQueue,
    ) -> None:
        super().__init__(scope, id)
        self._prefix = prefix
        self._action = actions.SnsAction(topic)
        self.all: list[cloudwatch.IAlarm] = []
        self._when_any("RunsFailed", state_machine.metric_failed(period=PERIOD), "A run failed", "See its report")
        self._when_any(
            "RunsTimedOut",
            state_machine.metric_timed_out(period=PERIOD),
            "A run timed out",
            "A run exceeded the maximum execution time",
        )
        for name, function in unattended.items():
            self._when_any(f"{name}Errors", function.metric_errors(period=PERIOD), f"{name} failed", "See its log")
        for name, function in throttled.items():
            self._when_any(
                f"{name}Throttles",
                function.metric_throttles(period=PERIOD),
                f"{name} was throttled",
                "The Lambda concurrency of the account or of the function is used up",
            )
        self._when_any(
            "UndeliveredEvents",
            dead_letters.metric_approximate_number_of_messages_visible(period=PERIOD),
            "An event was not delivered",
            "An event of an upload, an aborted run or a sweep could not be delivered; it is in the dead-letter queue",
        )
        # Not breaching in a new stage: a rate schedule without a StartDate starts when it is created (EventBridge
        # Scheduler's guide), so the first sweeps run before this stack exists.
        for name, consequence in SWEEPS.items():
            self._add(
                unattended[name]
                .metric_invocations(period=SWEEPS_MISSED_FOR)
                .create_alarm(
                    self,
                    f"{name}Silent",
                    alarm_name=self._name(f"{name} does not run"),
                    alarm_description=f"{name} has not run for an hour: {consequence}. Clears after the next sweep",
                    comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
                    threshold=1,
                    evaluation_periods=1,
                    treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
                ),
            )

    def _name(self, what: str) -> str:
        """For a person who reads a message or the dashboard. It does not begin with the prefix: functions may set and
        delete alarms whose name does, those of endpoints.
        """
        return f"{what} ({self._prefix})"

    def _when_any(self, id: str, metric: cloudwatch.Metric, what: str, description: str) -> None:
        self._add(
            metric.create_alarm(
                self,
                id,
                alarm_name=self._name(what),
                alarm_description=description,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                threshold=1,
                evaluation_periods=1,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            ),
        )

    def _add(self, alarm: cloudwatch.Alarm) -> None:
        alarm.add_alarm_action(self._action)
        self.all.append(alarm)
