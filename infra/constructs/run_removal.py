"""Removes runs when the stacks are destroyed."""

from collections.abc import Sequence

from aws_cdk import CustomResource
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct


class RunRemoval(CustomResource):
    """Deletes the executions, jobs, endpoints and models of runs before the stacks: the network cannot be deleted while
    they use it.

    Its function also empties `empty_buckets`, after it has stopped deliveries to `access_logs`, which is one of them. A
    stage that keeps its data passes none.
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
