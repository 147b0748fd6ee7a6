"""Where in the AWS console a person looks at a run."""

from urllib.parse import quote


def _console(region: str, path: str) -> str:
    return f"https://{region}.console.aws.amazon.com/{path}"


def execution_link(region: str, execution_arn: str) -> str:
    return _console(region, f"states/home?region={region}#/v2/executions/details/{execution_arn}")


def training_job_link(region: str, name: str) -> str:
    return _console(region, f"sagemaker/home?region={region}#/jobs/{name}")


def endpoint_link(region: str, name: str) -> str:
    return _console(region, f"sagemaker/home?region={region}#/endpoints/{name}")


def endpoints_link(region: str) -> str:
    return _console(region, f"sagemaker/home?region={region}#/endpoints")


def training_log_link(region: str, name: str) -> str:
    """The job's log streams; the console wants the group's name escaped twice, with `$` for `%`."""
    group = quote(quote("/aws/sagemaker/TrainingJobs", safe=""), safe="").replace("%", "$")
    search = quote(quote(f"?logStreamNameFilter={name}", safe=""), safe="").replace("%", "$")
    return _console(region, f"cloudwatch/home?region={region}#logsV2:log-groups/log-group/{group}{search}")


def files_link(region: str, bucket: str, prefix: str) -> str:
    return _console(region, f"s3/buckets/{bucket}?region={region}&prefix={quote(prefix)}")
