"""What turns an upload into an endpoint."""

from pathlib import Path
from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.config import StageConfig
from infra.constructs.clean_up_on_abort import CleanUpOnAbort
from infra.constructs.dead_letter_queue import DeadLetterQueue
from infra.constructs.endpoint_sweeper import EndpointSweeper
from infra.constructs.execution_role import execution_role
from infra.constructs.fine_tuning_workflow import DEFINITION, FineTuningWorkflow, steps_of
from infra.constructs.isolated_network import IsolatedNetwork
from infra.constructs.notification_topic import NotificationTopic
from infra.constructs.permissions import Permissions
from infra.constructs.python_layer import PythonLayer
from infra.constructs.run_removal import RunRemoval
from infra.constructs.settings_environment import settings_environment
from infra.constructs.step_permissions import StageResources
from infra.constructs.upload_trigger import UploadTrigger
from infra.constructs.workflow_function import FunctionPlatform
from infra.constructs.workflow_functions import WorkflowFunctions
from infra.stacks.storage_stack import StorageStack

LAMBDA = Path(__file__).resolve().parents[2] / "lambda"


class WorkflowStack(Stack):
    """Functions, state machine, and what starts, cleans up and sweeps. Nothing in it keeps data."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: StageConfig,
        storage: StorageStack,
        network: IsolatedNetwork,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self.topic = NotificationTopic(
            self, "Topic", key=storage.key, email=config.notification_email, budget=config.has_budget
        )
        role = execution_role(
            self,
            "ExecutionRole",
            artifacts=storage.artifacts,
            key=storage.key,
            network=network,
            prefix=config.prefix,
        )
        emptied = [] if config.keep_data else [storage.uploads, storage.artifacts, storage.access_logs]
        self.dead_letters = DeadLetterQueue(self, "DeadLetters")
        self.functions = WorkflowFunctions(
            self,
            "Functions",
            platform=FunctionPlatform(
                config=config,
                dead_letters=self.dead_letters,
                key=storage.key,
                network=network,
                code=lambda_.Code.from_asset(str(LAMBDA), exclude=["requirements.*", "**/__pycache__"]),
                layer=PythonLayer(self, "Libraries"),
                environment=settings_environment(
                    config,
                    {
                        "upload_bucket": storage.uploads.bucket_name,
                        "artifacts_bucket": storage.artifacts.bucket_name,
                        "kms_key_arn": storage.key.key_arn,
                        "execution_role_arn": role.role_arn,
                        "subnet_ids": [subnet.subnet_id for subnet in network.vpc.isolated_subnets],
                        "security_group_ids": [network.jobs.security_group_id],
                        "topic_arn": self.topic.topic_arn,
                    },
                ),
            ),
            resources=StageResources(
                config=config,
                uploads=storage.uploads,
                artifacts=storage.artifacts,
                key=storage.key,
                network=network,
                topic=self.topic,
                execution_role=role,
            ),
            emptied=emptied,
        )
        self.state_machine = FineTuningWorkflow(
            self,
            "Workflow",
            config=config,
            key=storage.key,
            functions={name: self.functions[name] for name in steps_of(DEFINITION)},
        )
        self._allow_on_executions(
            "TakeTurn",
            "states:ListExecutions",
            on=self.state_machine.state_machine_arn,
            because="Counts who is before it",
        )
        self.trigger = UploadTrigger(
            self,
            "Trigger",
            uploads=storage.uploads,
            state_machine=self.state_machine,
            dead_letters=self.dead_letters,
        )
        CleanUpOnAbort(
            self,
            "CleanUp",
            state_machine=self.state_machine,
            clean_up=self.functions["CleanUpRun"],
            dead_letters=self.dead_letters,
        )
        EndpointSweeper(self, "Sweeper", sweep=self.functions["SweepEndpoints"], dead_letters=self.dead_letters)
        removal = RunRemoval(self, "Runs", remove=self.functions["RemoveRuns"], empty_buckets=emptied)
        # Destroyed in reverse: no upload starts a run any more when the runs are removed.
        self.trigger.node.add_dependency(removal)
        for name, value in {
            "UploadBucketName": storage.uploads.bucket_name,
            "ArtifactsBucketName": storage.artifacts.bucket_name,
            "StateMachineArn": self.state_machine.state_machine_arn,
            "TopicArn": self.topic.topic_arn,
        }.items():
            CfnOutput(self, name, value=value)
        self.add_metadata(
            "cfn-lint",
            {
                "config": {"ignore_checks": ["W6001"]},
                "reason": "Two outputs hand on the buckets' names, so that all a user needs stands in one place",
            },
        )

    def _allow_on_executions(self, function: str, *actions: str, on: str, because: str) -> None:
        """In a policy of its own: the state machine needs the function, so its role cannot need the state machine."""
        role = self.functions[function].role
        assert role is not None
        Permissions(self, f"{function}OnExecutions").allow(*actions, on=[on], because=because).attach_to_role(role)
