"""Links into the AWS console for a run.

AWS does not document console URLs: these are copied from the browser's address bar and assumed to stay valid.
"""

from urllib.parse import quote

from finetuning.metrics import TRAINING_LOG_GROUP


def _console(region: str, path: str) -> str:
    return f"https://{region}.console.aws.amazon.com/{path}"


def _cloudwatch(region: str, page: str) -> str:
    return _console(region, f"cloudwatch/home?region={region}#{page}")


def execution_link(region: str, execution_arn: str) -> str:
    return _console(region, f"states/home?region={region}#/v2/executions/details/{execution_arn}")


def executions_link(region: str, state_machine_arn: str) -> str:
    return _console(region, f"states/home?region={region}#/statemachines/view/{state_machine_arn}")


def training_jobs_link(region: str) -> str:
    return _console(region, f"sagemaker/home?region={region}#/jobs")


def training_job_link(region: str, name: str) -> str:
    return _console(region, f"sagemaker/home?region={region}#/jobs/{name}")


def endpoint_link(region: str, name: str) -> str:
    return _console(region, f"sagemaker/home?region={region}#/endpoints/{name}")


def endpoints_link(region: str) -> str:
    return _console(region, f"sagemaker/home?region={region}#/endpoints")


def imported_models_link(region: str) -> str:
    return f"https://{region}.console.aws.amazon.com/bedrock/home?region={region}#/imported-models"


def training_log_link(region: str, name: str) -> str:
    """The job's log streams; the console expects the group name escaped twice, with `$` instead of `%`."""
    group = quote(quote(TRAINING_LOG_GROUP, safe=""), safe="").replace("%", "$")
    search = quote(quote(f"?logStreamNameFilter={name}", safe=""), safe="").replace("%", "$")
    return _cloudwatch(region, f"logsV2:log-groups/log-group/{group}{search}")


def file_link(region: str, bucket: str, key: str) -> str:
    return _console(region, f"s3/object/{bucket}?region={region}&prefix={quote(key)}")


def files_link(region: str, bucket: str, prefix: str) -> str:
    return _console(region, f"s3/buckets/{bucket}?region={region}&prefix={quote(prefix)}")


def queries_link(region: str) -> str:
    """CloudWatch Logs Insights, whose menu lists the saved queries."""
    return _cloudwatch(region, "logsV2:logs-insights")


def traces_link(region: str) -> str:
    return _cloudwatch(region, "xray:traces/query")


def alarms_link(region: str) -> str:
    return _cloudwatch(region, "alarmsV2:")


def dashboard_link(region: str, name: str) -> str:
    return _cloudwatch(region, f"dashboards/dashboard/{name}")
