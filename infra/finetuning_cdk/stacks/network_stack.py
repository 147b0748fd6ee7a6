"""The network in which data is processed; it has no route to the internet."""

from typing import Any

from aws_cdk import Stack
from constructs import Construct

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.isolated_network import IsolatedNetwork
from finetuning_cdk.constructs.service_endpoints import InterfaceEndpoints, S3Endpoint
from finetuning_cdk.stacks.storage_stack import StorageStack


class NetworkStack(Stack):
    """The VPC with its endpoints: always for S3, for other services where the stage is configured so."""

    def __init__(self, scope: Construct, id: str, *, config: StageConfig, storage: StorageStack, **kwargs: Any) -> None:
        super().__init__(scope, id, **kwargs)
        self.network = IsolatedNetwork(self, "Network", config=config, key=storage.key)
        S3Endpoint(
            self,
            "S3",
            vpc=self.network.vpc,
            buckets=[storage.uploads, storage.artifacts],
        )
        if config.interface_endpoints:
            InterfaceEndpoints(self, "Endpoints", network=self.network, imports_models=config.bedrock_import)
        if config.availability_zones:
            self.add_metadata(
                "cfn-lint",
                {"config": {"ignore_checks": ["W3010"]}, "reason": "The stage sets its zones: few have large GPUs"},
            )
