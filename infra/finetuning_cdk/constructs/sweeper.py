"""Scheduled functions that delete expired endpoints and recover lost runs."""

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from finetuning.settings import SWEEP_MINUTES
from finetuning_cdk.constructs.acknowledgements import acknowledge
from finetuning_cdk.constructs.permissions import Permissions, service_role

PERIOD = Duration.minutes(SWEEP_MINUTES)


class Sweeper(Construct):
    """Runs a sweeping function every 15 minutes."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        description: str,
        sweep: lambda_.IFunction,
        payload: Mapping[str, object],
        dead_letters: sqs.IQueue,
    ) -> None:
        super().__init__(scope, id)
        # Lambda would retry a failed sweep twice, and each try would count the endpoints' cost again: the next sweep
        # is the retry.
        once = lambda_.EventInvokeConfig(self, "Once", function=sweep, retry_attempts=0)
        acknowledge(
            once,
            "Serverless-LambdaAsyncFailureDestination",
            because="The function's dead-letter queue keeps failed calls",
        )
        permissions = (
            Permissions(self, "Permissions")
            .allow("lambda:InvokeFunction", on=[sweep.function_arn], because="Invokes only the sweep's function")
            .allow("sqs:SendMessage", on=[dead_letters.queue_arn], because="Keeps failed calls")
        )
        role = service_role(self, "Role", service="scheduler.amazonaws.com", permissions=permissions)
        scheduler.Schedule(
            self,
            "Schedule",
            description=description,
            schedule=scheduler.ScheduleExpression.rate(PERIOD),
            target=targets.LambdaInvoke(
                sweep,
                role=role.without_policy_updates(),
                dead_letter_queue=dead_letters,
                # The next sweep makes up for a lost one.
                max_event_age=PERIOD,
                retry_attempts=2,
                input=scheduler.ScheduleTargetInput.from_object(dict(payload)),
            ),
        )
