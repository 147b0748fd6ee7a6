"""One stage of the product: its four stacks, connected."""

from typing import Any

from aws_cdk import Tags
from constructs import Construct

from finetuning.runs.tags import STAGE_TAG
from finetuning_cdk.config import StageConfig
from finetuning_cdk.stacks.monitoring_stack import MonitoringStack
from finetuning_cdk.stacks.network_stack import NetworkStack
from finetuning_cdk.stacks.storage_stack import StorageStack
from finetuning_cdk.stacks.workflow_stack import WorkflowStack


class FineTuningStage(Construct):
    """Storage, network, workflow and monitoring, in the order they are deployed; for any account and region.

    Not an `aws_cdk.Stage`: `cdk deploy --all` deploys the stacks of the app itself and skips those inside a Stage.
    """

    def __init__(self, scope: Construct, *, config: StageConfig) -> None:
        super().__init__(scope, config.prefix)

        def settings(stack: str) -> dict[str, Any]:
            return {"stack_name": f"{config.prefix}-{stack}", "termination_protection": config.termination_protection}

        self.storage = StorageStack(self, "storage", config=config, **settings("storage"))
        self.network = NetworkStack(self, "network", config=config, storage=self.storage, **settings("network"))
        self.workflow = WorkflowStack(
            self,
            "workflow",
            config=config,
            storage=self.storage,
            network=self.network.network,
            **settings("workflow"),
        )
        self.monitoring = MonitoringStack(
            self,
            "monitoring",
            config=config,
            storage=self.storage,
            workflow=self.workflow,
            **settings("monitoring"),
        )
        Tags.of(self).add(STAGE_TAG, config.stage)
