"""The dashboard: from top to bottom, the questions of a person who waits for a run."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from finetuning.metrics import CODE, ENDPOINTS_LOG_GROUP, NAMESPACE, SERVICE, STEP, TRAINING_LOG_GROUP, ProductMetric
from finetuning.settings import SWEEP_MINUTES
from finetuning_cdk.constructs.log_queries import ROWS_REFUSED, SWEPT, WHY_RUNS_FAILED, LogQuery, log_groups

PERIOD = Duration.minutes(5)
SWEEP, HOUR, DAY = Duration.minutes(SWEEP_MINUTES), Duration.hours(1), Duration.days(1)
MILLISECONDS, MICROSECONDS = 1000, 1_000_000
"""In a second. SageMaker measures ModelLatency in microseconds."""
WHOLE, WIDE, HALF, THIRD, QUARTER = 24, 16, 12, 8, 6
"""Widths of widgets: a dashboard has 24 columns."""
HIGH, LOW = 6, 4
"""Heights of widgets. Those of a row are equal, so that it has no holes."""
TOP = 5

LOSSES = ("huggingface-textgeneration:train-loss", "huggingface-textgeneration:eval-loss")
"""As JumpStart's documents name them in `MetricDefinitions`; SageMaker reads them from the job's log."""

GREEN, RED, ORANGE, GREY = (
    cloudwatch.Color.GREEN,
    cloudwatch.Color.RED,
    cloudwatch.Color.ORANGE,
    cloudwatch.Color.GREY,
)


ANY_JOB = "job-of-the-variable"
"""Stands in the searches for the job that the dashboard's variable names; CloudWatch replaces it."""


class RunDashboard(cloudwatch.Dashboard):
    """What costs money now and what failed today; then runs and their failures, training, data, endpoints, and steps.

    Jobs and endpoints do not exist yet when the dashboard is created: it searches for them by the stage's prefix, with
    which their names begin. Functions are searched for too, so that this stack refers to few of them: what another
    stack refers to cannot be removed. `links` are titles and addresses in the console.
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
        imports_models: bool,
    ) -> None:
        job = cloudwatch.DashboardVariable(
            id="job",
            type=cloudwatch.VariableType.PATTERN,
            input_type=cloudwatch.VariableInputType.INPUT,
            value=ANY_JOB,
            label="Training job, or how its name begins",
            visible=True,
            default_value=cloudwatch.DefaultValue.value(f"{prefix}-"),
        )
        super().__init__(
            scope,
            id,
            period_override=cloudwatch.PeriodOverride.AUTO,
            default_interval=Duration.days(3),
            variables=[job],
        )
        self._prefix = prefix
        self._region = Stack.of(self).region
        self._functions = functions
        self._show_now(state_machine, alarms, imports_models)
        self._show_runs(state_machine)
        self._show_training()
        self._show_data()
        self._show_endpoints()
        self._show_cost()
        self._show_steps()
        self.add_widgets(self._guide(links))

    def _guide(self, links: Mapping[str, str]) -> cloudwatch.TextWidget:
        guide = " · ".join(f"[{title}]({address})" for title, address in links.items())
        return cloudwatch.TextWidget(
            markdown=f"## {self._prefix} in the console\n{guide}\n\n"
            "One run: its execution shows the current step, and `finetune watch RUN` follows it. The saved query "
            f"*{self._prefix}/Everything of one run* shows its log; the annotation `run_id` finds its traces. "
            "docs/runbook.md explains every error code.",
            width=WHOLE,
            height=4,
        )

    def _show_now(
        self, state_machine: sfn.IStateMachine, alarms: Sequence[cloudwatch.IAlarm], imports_models: bool
    ) -> None:
        labels = {
            ProductMetric.ENDPOINTS_IN_SERVICE: "endpoints",
            **({ProductMetric.IMPORTED_MODELS: "imported models, paid when asked"} if imports_models else {}),
            ProductMetric.TRAINING_JOBS_RUNNING: "training jobs",
            ProductMetric.ENDPOINTS_USD_PER_HOUR: "USD an hour for endpoints",
            ProductMetric.NEXT_EXPIRY_HOURS: "hours to the next expiry",
        }
        now = [self._own(metric, label=label, statistic="Maximum", period=SWEEP) for metric, label in labels.items()]
        failed = [
            state_machine.metric_failed(label="failed", color=RED, period=DAY),
            state_machine.metric_timed_out(label="timed out", color=ORANGE, period=DAY),
            state_machine.metric_succeeded(label="succeeded", color=GREEN, period=DAY),
        ]
        self.add_widgets(
            cloudwatch.SingleValueWidget(
                title="What costs money now (at the last sweep)", metrics=now, width=WIDE, height=LOW
            ),
            cloudwatch.SingleValueWidget(title="Runs today (UTC)", metrics=failed, width=THIRD, height=LOW),
        )
        self.add_widgets(cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=WHOLE, height=LOW))

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
            cloudwatch.GraphWidget(title="Runs", left=runs, width=HALF),
            cloudwatch.GraphWidget(title="Failed runs by error code", left=[codes], stacked=True, width=HALF),
        )
        self.add_widgets(self._log("Why runs failed, latest first", WHY_RUNS_FAILED, width=WHOLE))

    def _show_training(self) -> None:
        jobs, hosts = f'"{TRAINING_LOG_GROUP}",TrainingJobName', f'"{TRAINING_LOG_GROUP}",Host'
        use = ["GPUUtilization", "GPUMemoryUtilization"]
        self._heading("Is training progressing, and does the loss fall?")
        self.add_widgets(
            self._found("Loss: training and validation", jobs, LOSSES, of=ANY_JOB, width=HALF),
            self._found("GPUs and their memory (%, 100 for each GPU)", hosts, use, of=ANY_JOB, width=HALF),
        )

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
                height=HIGH,
            ),
            cloudwatch.GraphWidget(
                title="USD per hour", left=[billed, hosting], right=[hours], stacked=True, width=HALF
            ),
        )
        self.add_widgets(self._log("What the sweeper deleted", SWEPT, width=WHOLE, height=4))

    def _show_steps(self) -> None:
        ours = f"{NAMESPACE},{SERVICE},{STEP}"
        of = f'{SERVICE}="{self._prefix}"'
        slowest = self._search(ours, ProductMetric.STEP_DURATION, "Maximum", of=of, divided_by=MILLISECONDS, top=TOP)
        failing = [
            self._search(ours, metric, "Sum", of=of, top=TOP)
            for metric in (ProductMetric.STEP_FAILED, ProductMetric.STEP_REFUSED)
        ]
        throttled = self._search("AWS/Lambda,FunctionName", "Throttles", "Sum", top=TOP)
        self._heading("Which step is slow, failing or throttled? The top five")
        self.add_widgets(
            cloudwatch.GraphWidget(title="Longest call (s)", left=[slowest], width=THIRD),
            cloudwatch.GraphWidget(title="Errors, and refused uploads", left=failing, width=THIRD),
            cloudwatch.GraphWidget(title="Throttled calls", left=[throttled], width=THIRD),
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

    def _own(
        self,
        metric: ProductMetric,
        *,
        label: str = "",
        color: str | None = None,
        statistic: str = "Sum",
        period: Duration = HOUR,
    ) -> cloudwatch.Metric:
        """A metric of our own that one handler measures."""
        (handler,) = metric.handlers
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=metric,
            dimensions_map={SERVICE: self._prefix, STEP: handler},
            statistic=statistic,
            period=period,
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
        of: str | None = None,
        divided_by: int = 1,
        width: int,
    ) -> cloudwatch.GraphWidget:
        """A graph with a line for each job or endpoint that has the metrics."""
        found = [self._search(schema, metric, statistic, of=of, divided_by=divided_by) for metric in metrics]
        return cloudwatch.GraphWidget(title=title, left=found, width=width)

    def _search(
        self, schema: str, metric: str, statistic: str, *, of: str | None = None, divided_by: int = 1, top: int = 0
    ) -> cloudwatch.SearchExpression:
        """Metrics of things that do not exist yet when the dashboard is created; CloudWatch shows at most 500 of them.

        The schema is a namespace with its dimensions. A term in double quotes is matched exactly; the prefix matches
        every name that has its words in this order, next to each other. `top`: only so many, by their maximum.
        """
        terms = f'{{{schema}}} MetricName="{metric}" {of or self._prefix + "-"}'
        search = f"SEARCH('{terms}', '{statistic}', {PERIOD.to_seconds():.0f})"
        if top:
            search = f"SLICE(SORT({search}, MAX, DESC), 0, {top})"
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
