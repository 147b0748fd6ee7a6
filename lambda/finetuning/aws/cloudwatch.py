"""An endpoint's alarms in CloudWatch."""

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.errors import error_code, translate_errors
from finetuning.runs import guardrails


def watch_endpoint(endpoint: str, config: str | None, topic_arn: str) -> None:
    """Sets the endpoint's alarms, in place of those it had; `guardrails.alarms` says what `config` is for."""
    with translate_errors(f"set the alarms of {endpoint}"):
        for request in guardrails.alarms(endpoint, config, topic_arn):
            client("cloudwatch").put_metric_alarm(**request)


def forget_endpoint(endpoint: str) -> None:
    """Deletes the endpoint's alarms; there may be none."""
    with translate_errors(f"delete the alarms of {endpoint}"):
        try:
            client("cloudwatch").delete_alarms(AlarmNames=guardrails.alarm_names(endpoint))
        except ClientError as error:
            if error_code(error) not in ("ResourceNotFound", "ResourceNotFoundException"):
                raise
