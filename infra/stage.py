"""One stage of the product: four stacks, wired."""

from aws_cdk import Stage, Tags
from constructs import Construct

from infra.config import StageConfig
from infra.stacks.monitoring_stack import MonitoringStack
from infra.stacks.network_stack import NetworkStack
from infra.stacks.storage_stack import StorageStack
from infra.stacks.workflow_stack import WorkflowStack


class FineTuningStage(Stage):
    """Storage, network, workflow and monitoring, in the order they are deployed; for whatever account and region."""

    def __init__(self, scope: Construct, *, config: StageConfig) -> None:
        super().__init__(scope, config.prefix)
        protection = config.termination_protection
        self.storage = StorageStack(self, "storage", config=config, termination_protection=protection)
        self.network = NetworkStack(
            self, "network", config=config, storage=self.storage, termination_protection=protection
        )
        self.workflow = WorkflowStack(
            self,
            "workflow",
            config=config,
            storage=self.storage,
            network=self.network.network,
            termination_protection=protection,
        )
        self.monitoring = MonitoringStack(
            self, "monitoring", config=config, workflow=self.workflow, termination_protection=protection
        )
        Tags.of(self).add("finetune:stage", config.stage)
