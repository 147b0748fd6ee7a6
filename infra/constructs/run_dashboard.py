"""The dashboard: from top to bottom, the questions of a person who waits for a run."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from finetuning.metrics import CODE, ENDPOINTS_LOG_GROUP, NAMESPACE, SERVICE, STEP, TRAINING_LOG_GROUP, ProductMetric
from infra.constructs.log_queries import ROWS_REFUSED, SWEPT, WHY_RUNS_FAILED, LogQuery, log_groups

PERIOD = Duration.minutes(5)
HOUR = Duration.hours(1)
MICROSECONDS = 1_000_000
"""In a second: SageMaker measures ModelLatency in microseconds."""
WHOLE, HALF, THIRD, QUARTER = 24, 12, 8, 6
"""Widths of widgets: a dashboard has 24 columns."""

LOSSES = {
    "Training loss": "huggingface-textgeneration:train-loss",
    "Validation loss": "huggingface-textgeneration:eval-loss",
}
"""As JumpStart's documents name them in `MetricDefinitions`; SageMaker reads them from the job's log."""

GREEN, RED, ORANGE, GREY = (
    cloudwatch.Color.GREEN,
    cloudwatch.Color.RED,
    cloudwatch.Color.ORANGE,
    cloudwatch.Color.GREY,
)


class RunDashboard(cloudwatch.Dashboard):
    """Whether runs succeed, how training is progressing, whether the loss falls, what failed, and what it costs.

    Jobs and endpoints do not exist yet when the dashboard is created: it searches for them by the stage's prefix, with
    which their names begin. `links` are titles and addresses in the console.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        prefix: str,
        state_machine: sfn.IStateMachine,
        functions: Mapping[str, lambda_.Function],
        alarms: Sequence[cloudwatch.IAlarm],
        links: Mapping[str, str],
    ) -> None:
        super().__init__(scope, id, period_override=cloudwatch.PeriodOverride.AUTO, default_interval=Duration.days(3))
        self._prefix = prefix
        self._region = Stack.of(self).region
        self._functions = functions
        self.add_widgets(self._guide(links))
        self.add_widgets(cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=WHOLE, height=3))
        self._show_runs(state_machine)
        self._show_training()
        self._show_data()
        self._show_endpoints()
        self._show_cost()
        self._show_steps()

    def _guide(self, links: Mapping[str, str]) -> cloudwatch.TextWidget:
        guide = " · ".join(f"[{title}]({address})" for title, address in links.items())
        return cloudwatch.TextWidget(
            markdown=f"# {self._prefix}\n{guide}\n\n"
            "One run: its execution shows the current step, and `finetune watch RUN` follows it. The saved query "
            f"*{self._prefix}/Everything of one run* shows its log; the annotation `run_id` finds its traces. "
            "docs/runbook.md explains every error code.",
            width=WHOLE,
            height=4,
        )

    def _show_runs(self, state_machine: sfn.IStateMachine) -> None:
        ends = {
            "succeeded": (state_machine.metric_succeeded, GREEN),
            "failed": (state_machine.metric_failed, RED),
            "timed out": (state_machine.metric_timed_out, ORANGE),
            "aborted": (state_machine.metric_aborted, GREY),
        }
        runs = [
            state_machine.metric_started(label="started", period=PERIOD),
            *(metric(label=label, color=color, period=PERIOD) for label, (metric, color) in ends.items()),
        ]
        codes = self._search(
            f"{NAMESPACE},{SERVICE},{CODE}", ProductMetric.RUN_FAILED, "Sum", of=f'{SERVICE}="{self._prefix}"'
        )
        self._heading("Do runs succeed? Why do they fail?")
        self.add_widgets(
            cloudwatch.SingleValueWidget(
                title="Runs in this period", metrics=runs, set_period_to_time_range=True, width=THIRD
            ),
            cloudwatch.GraphWidget(title="Runs", left=runs, width=THIRD),
            cloudwatch.GraphWidget(title="Failed runs by error code", left=[codes], stacked=True, width=THIRD),
        )
        self.add_widgets(self._log("Why runs failed, latest first", WHY_RUNS_FAILED, width=WHOLE))

    def _show_training(self) -> None:
        jobs, hosts = f'"{TRAINING_LOG_GROUP}",TrainingJobName', f'"{TRAINING_LOG_GROUP}",Host'
        use = {
            "GPU utilization of jobs (%, 100 for each GPU)": "GPUUtilization",
            "GPU memory of jobs (%, 100 for each GPU)": "GPUMemoryUtilization",
            "Memory of jobs (%)": "MemoryUtilization",
        }
        self._heading("Is training progressing, and does the loss fall?")
        self.add_widgets(*(self._found(title, jobs, [metric], width=HALF) for title, metric in LOSSES.items()))
        self.add_widgets(*(self._found(title, hosts, [metric], width=THIRD) for title, metric in use.items()))

    def _show_data(self) -> None:
        rows = {
            ProductMetric.DATASET_ROWS_KEPT: GREEN,
            ProductMetric.DATASET_ROWS_DUPLICATE: GREY,
            ProductMetric.DATASET_ROWS_REFUSED: RED,
        }
        self._heading("What happened to the data?")
        self.add_widgets(
            cloudwatch.GraphWidget(
                title="Rows",
                left=[self._own(metric, color=color) for metric, color in rows.items()],
                stacked=True,
                width=HALF,
            ),
            self._log("Rows refused, by reason", ROWS_REFUSED, width=HALF),
        )

    def _show_endpoints(self) -> None:
        endpoints, hosts = "AWS/SageMaker,EndpointName,VariantName", f'"{ENDPOINTS_LOG_GROUP}",EndpointName,VariantName'
        errors = ["Invocation4XXErrors", "Invocation5XXErrors"]
        self._heading("Are endpoints used, fast and free of errors?")
        self.add_widgets(
            self._found("Invocations", endpoints, ["Invocations"], "Sum", width=QUARTER),
            self._found("Latency p99 (s)", endpoints, ["ModelLatency"], "p99", divided_by=MICROSECONDS, width=QUARTER),
            self._found("Errors of the caller (4XX) and of the model (5XX)", endpoints, errors, "Sum", width=QUARTER),
            self._found("GPU utilization of endpoints (%, 100 for each GPU)", hosts, ["GPUUtilization"], width=QUARTER),
        )

    def _show_cost(self) -> None:
        estimated = self._own(ProductMetric.TRAINING_ESTIMATED_USD, label="training, estimated")
        billed = self._own(ProductMetric.TRAINING_ACTUAL_USD, label="training, billed")
        hosting = self._own(ProductMetric.ENDPOINT_USD, label="endpoints")
        hours = self._own(ProductMetric.ENDPOINT_HOURS, label="endpoint instance hours")
        self._heading("What does it cost?")
        self.add_widgets(
            cloudwatch.SingleValueWidget(
                title="USD in this period: list prices × hours; the bill may differ",
                metrics=[estimated, billed, hosting, hours],
                set_period_to_time_range=True,
                width=HALF,
            ),
            cloudwatch.GraphWidget(
                title="USD per hour", left=[billed, hosting], right=[hours], stacked=True, width=HALF
            ),
        )
        self.add_widgets(self._log("What the sweeper deleted", SWEPT, width=WHOLE, height=4))

    def _show_steps(self) -> None:
        each = self._functions.items()
        self._heading("Which step is slow, failing or throttled?")
        self.add_widgets(
            cloudwatch.GraphWidget(
                title="Longest call (ms)",
                left=[f.metric_duration(label=name, period=PERIOD, statistic="Maximum") for name, f in each],
                width=THIRD,
            ),
            cloudwatch.GraphWidget(
                title="Errors, including refused uploads",
                left=[f.metric_errors(label=name, period=PERIOD) for name, f in each],
                width=THIRD,
            ),
            cloudwatch.GraphWidget(
                title="Throttled calls",
                left=[f.metric_throttles(label=name, period=PERIOD) for name, f in each],
                width=THIRD,
            ),
        )

    def _heading(self, question: str) -> None:
        self.add_widgets(
            cloudwatch.TextWidget(
                markdown=f"## {question}",
                background=cloudwatch.TextWidgetBackground.TRANSPARENT,
                width=WHOLE,
                height=1,
            )
        )

    def _own(self, metric: ProductMetric, *, label: str = "", color: str | None = None) -> cloudwatch.Metric:
        """A metric of our own that one handler measures, summed by the hour."""
        (handler,) = metric.handlers
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=metric,
            dimensions_map={SERVICE: self._prefix, STEP: handler},
            statistic="Sum",
            period=HOUR,
            label=label or metric,
            color=color,
        )

    def _found(
        self,
        title: str,
        schema: str,
        metrics: Sequence[str],
        statistic: str = "Average",
        *,
        divided_by: int = 1,
        width: int,
    ) -> cloudwatch.GraphWidget:
        """A graph with a line for each job or endpoint that has the metrics."""
        found = [self._search(schema, metric, statistic, divided_by=divided_by) for metric in metrics]
        return cloudwatch.GraphWidget(title=title, left=found, width=width)

    def _search(
        self, schema: str, metric: str, statistic: str, *, of: str | None = None, divided_by: int = 1
    ) -> cloudwatch.SearchExpression:
        """Metrics of things that do not exist yet when the dashboard is created; CloudWatch shows at most 500 of them.

        The schema is a namespace with its dimensions. A term in double quotes is matched exactly; the prefix matches
        every name that has its words in this order, next to each other.
        """
        terms = f'{{{schema}}} MetricName="{metric}" {of or self._prefix + "-"}'
        search = f"SEARCH('{terms}', '{statistic}', {PERIOD.to_seconds():.0f})"
        return cloudwatch.SearchExpression(
            expression=search if divided_by == 1 else f"{search} / {divided_by}",
            label="",
            search_region=self._region,
        )

    def _log(self, title: str, query: LogQuery, *, width: int, height: int = 6) -> cloudwatch.LogQueryWidget:
        return cloudwatch.LogQueryWidget(
            title=title,
            log_group_names=log_groups(query, self._functions),
            query_string=query.text.replace("\n", " "),
            width=width,
            height=height,
        )
