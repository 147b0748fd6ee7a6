"""The network in which data is processed; it has no route to the internet."""

from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.isolated_network import IsolatedNetwork
from finetuning_cdk.constructs.service_endpoints import InterfaceEndpoints, S3Endpoint
from finetuning_cdk.stacks.storage_stack import StorageStack


class NetworkStack(Stack):
    """The VPC with its endpoints: always for S3, for other services where the stage is configured so.

    In a given `vpc` only the security groups are made: its owner has its endpoints and its flow log.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: StageConfig,
        storage: StorageStack,
        vpc: ec2.IVpc | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self.network = IsolatedNetwork(self, "Network", config=config, key=storage.key, vpc=vpc)
        if vpc is not None:
            return
        S3Endpoint(
            self,
            "S3",
            vpc=self.network.vpc,
            buckets=[storage.uploads, storage.artifacts],
            promote_from=config.promote_from_bucket,
        )
        if config.interface_endpoints:
            InterfaceEndpoints(self, "Endpoints", network=self.network, services=config.services)
        if config.availability_zones:
            self.add_metadata(
                "cfn-lint",
                {"config": {"ignore_checks": ["W3010"]}, "reason": "The stage sets its zones: few have large GPUs"},
            )
