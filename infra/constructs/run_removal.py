"""What happens when the stacks are destroyed."""

from collections.abc import Sequence

from aws_cdk import CustomResource
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct


class RunRemoval(CustomResource):
    """Before the stacks go, the executions, jobs, endpoints and models of runs go: they hold on to the network.

    Its function empties `empty_buckets` too, and first ends the deliveries to `access_logs`, one of them; a stage that
    keeps its data gives none.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        remove: lambda_.IFunction,
        state_machine: sfn.IStateMachine,
        empty_buckets: Sequence[s3.IBucket],
        access_logs: s3.IBucket,
    ) -> None:
        super().__init__(
            scope,
            id,
            resource_type="Custom::RunRemoval",
            service_token=remove.function_arn,
            properties={
                "StateMachineArn": state_machine.state_machine_arn,
                "EmptyBuckets": [bucket.bucket_name for bucket in empty_buckets],
                **({"AccessLogs": access_logs.bucket_name} if empty_buckets else {}),
            },
        )
