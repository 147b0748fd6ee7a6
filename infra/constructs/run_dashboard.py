"""What the team looks at."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

PERIOD = Duration.minutes(5)


class RunDashboard(cloudwatch.Dashboard):
    """Alarms, runs, functions, and every training job and endpoint whose name carries the stage's prefix."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        prefix: str,
        state_machine: sfn.IStateMachine,
        functions: Mapping[str, lambda_.IFunction],
        alarms: Sequence[cloudwatch.IAlarm],
    ) -> None:
        super().__init__(scope, id, period_override=cloudwatch.PeriodOverride.AUTO)
        runs = [
            state_machine.metric_started(period=PERIOD),
            state_machine.metric_succeeded(period=PERIOD),
            state_machine.metric_failed(period=PERIOD),
            state_machine.metric_aborted(period=PERIOD),
            state_machine.metric_timed_out(period=PERIOD),
        ]
        self.add_widgets(cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=24, height=3))
        self.add_widgets(
            cloudwatch.GraphWidget(title="Runs", left=runs, width=8),
            cloudwatch.GraphWidget(
                title="Errors by step",
                left=[function.metric_errors(label=name, period=PERIOD) for name, function in functions.items()],
                width=8,
            ),
            cloudwatch.GraphWidget(
                title="Longest call by step",
                left=[
                    function.metric_duration(label=name, period=PERIOD, statistic="Maximum")
                    for name, function in functions.items()
                ],
                width=8,
            ),
        )
        self.add_widgets(
            self._search("GPU of training jobs", "/aws/sagemaker/TrainingJobs,Host", "GPUUtilization", prefix),
            self._search(
                "Questions to endpoints", "AWS/SageMaker,EndpointName,VariantName", "Invocations", prefix, "Sum"
            ),
            self._search(
                "Answering time (µs)", "AWS/SageMaker,EndpointName,VariantName", "ModelLatency", prefix, "p90"
            ),
        )

    def _search(
        self, title: str, schema: str, metric: str, prefix: str, statistic: str = "Average"
    ) -> cloudwatch.GraphWidget:
        """A graph of things that do not exist yet when the dashboard is made."""
        expression = f"SEARCH('{{{schema}}} MetricName=\"{metric}\" {prefix}-', '{statistic}', 300)"
        found = cloudwatch.MathExpression(expression=expression, label="", search_region=Stack.of(self).region)
        return cloudwatch.GraphWidget(title=title, left=[found], width=8)
