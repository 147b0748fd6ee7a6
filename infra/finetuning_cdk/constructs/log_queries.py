"""Queries of the functions' logs, saved in CloudWatch Logs Insights."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from finetuning.metrics import ProductMetric

DURATION = f"{ProductMetric.STEP_DURATION}.0"


@dataclass(frozen=True, kw_only=True)
class LogQuery:
    """One query. `of` are the functions whose logs it reads (none: all), `parameters` what the user fills in.

    Insights finds the fields of a JSON line itself; the first value of an array is its field `.0`, and the values of
    metrics are arrays.
    """

    name: str
    text: str
    of: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)


EVERYTHING_OF_A_RUN = LogQuery(
    name="Everything of one run",
    parameters={"run_id": "The run's id, as in status.json: name-0a1b2c3d"},
    text="""\
fields @timestamp, step, level, message, error.code, error.fix
| filter run_id = "{{run_id}}" and ispresent(message)
| sort @timestamp asc
| limit 1000""",
)
WHY_RUNS_FAILED = LogQuery(
    name="Why runs failed",
    of=("ReportFailure", "CleanUpRun"),
    text="""\
fields @timestamp, run_id, error.code, error.message, error.fix
| filter ispresent(error.code)
| sort @timestamp desc
| limit 50""",
)
DEFECTS = LogQuery(
    name="Defects, with their traceback",
    text="""\
fields @timestamp, run_id, step, exception_name, exception, @message
| filter ispresent(exception) or @message like /Task timed out|Runtime exited|Runtime.ExitError/
| sort @timestamp desc
| limit 50""",
)
SLOWEST_STEPS = LogQuery(
    name="Slowest steps",
    text=f"""\
filter ispresent({DURATION})
| stats max({DURATION}) as longest_ms, avg({DURATION}) as mean_ms, count(*) as calls by step
| sort longest_ms desc""",
)
ROWS_REFUSED = LogQuery(
    name="Rows refused, by reason",
    of=("FinishDataset",),
    text="""\
filter message = "Rows refused"
| stats sum(rows) as rows_refused by reason, run_id
| sort rows_refused desc""",
)
SWEPT = LogQuery(
    name="What the sweeper deleted",
    of=("SweepEndpoints",),
    text="""\
fields @timestamp, endpoint, run_id, reason
| filter message = "Deleted an endpoint"
| sort @timestamp desc
| limit 100""",
)
COST_BY_ENDPOINT = LogQuery(
    name="What each endpoint has cost",
    of=("SweepEndpoints",),
    text="""\
filter message = "An endpoint serves"
| stats sum(instance_hours) as hours, sum(usd) as cost_usd, latest(instance_type) as type by endpoint, run_id
| sort cost_usd desc""",
)
QUERIES = (
    EVERYTHING_OF_A_RUN,
    WHY_RUNS_FAILED,
    DEFECTS,
    SLOWEST_STEPS,
    ROWS_REFUSED,
    SWEPT,
    COST_BY_ENDPOINT,
)


class LogQueries(Construct):
    """Saves every query under the stage's name; the console shows the part before the slash as a folder."""

    def __init__(self, scope: Construct, id: str, *, prefix: str, functions: Mapping[str, lambda_.Function]) -> None:
        super().__init__(scope, id)
        for query in QUERIES:
            logs.CfnQueryDefinition(
                self,
                query.name.title().replace(" ", "").replace(",", ""),
                name=f"{prefix}/{query.name}",
                query_string=query.text,
                log_group_names=log_groups(query, functions),
                parameters=[
                    logs.CfnQueryDefinition.QueryParameterProperty(name=name, description=description)
                    for name, description in query.parameters.items()
                ]
                or None,
            )


def log_groups(query: LogQuery, functions: Mapping[str, lambda_.Function]) -> list[str]:
    """The names of the log groups the query reads."""
    return [functions[name].log_group.log_group_name for name in query.of or functions]
