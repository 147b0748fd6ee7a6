"""Removes runs, and waits for network interfaces, when the stacks are destroyed."""

from collections.abc import Sequence

from aws_cdk import CfnResource, CustomResource
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct


class RunRemoval(CustomResource):
    """Deletes the executions, jobs, endpoints and models of runs before the stacks.

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


class InterfaceRelease(CustomResource):
    """Waits until no network interface is left in `groups`: the network cannot be deleted before.

    CloudFormation deletes it after the functions that are passed to `wait_for`, which share these interfaces.
    """

    def __init__(
        self, scope: Construct, id: str, *, wait: lambda_.IFunction, groups: Sequence[ec2.ISecurityGroup]
    ) -> None:
        super().__init__(
            scope,
            id,
            resource_type="Custom::InterfaceRelease",
            service_token=wait.function_arn,
            properties={"SecurityGroups": [group.security_group_id for group in groups]},
        )

    def wait_for(self, functions: Sequence[lambda_.Function]) -> None:
        for function in functions:
            resource, before = function.node.default_child, self.node.default_child
            assert isinstance(resource, CfnResource)
            assert isinstance(before, CfnResource)
            resource.add_override("DependsOn", [before.logical_id])  # a plain dependency would be on the role as well
