"""The workflow that turns an upload into an endpoint."""

from pathlib import Path
from typing import Any

from aws_cdk import ArnFormat, CfnOutput, IgnoreMode, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

import finetuning
from finetuning.settings import StageSettings
from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.clean_up_on_abort import CleanUpOnAbort
from finetuning_cdk.constructs.event_delivery import DeadLetterQueue
from finetuning_cdk.constructs.execution_role import execution_role
from finetuning_cdk.constructs.file_permissions import StageResources
from finetuning_cdk.constructs.fine_tuning_workflow import FineTuningWorkflow
from finetuning_cdk.constructs.import_role import import_role
from finetuning_cdk.constructs.isolated_network import IsolatedNetwork
from finetuning_cdk.constructs.log_queries import LogQueries
from finetuning_cdk.constructs.notification_topic import NotificationTopic
from finetuning_cdk.constructs.permissions import Permissions
from finetuning_cdk.constructs.python_layer import LIBRARIES, PythonLayer
from finetuning_cdk.constructs.run_removal import InterfaceRelease, RunRemoval
from finetuning_cdk.constructs.sweeper import PERIOD, Sweeper
from finetuning_cdk.constructs.team_access import TeamAccess
from finetuning_cdk.constructs.upload_trigger import UploadTrigger
from finetuning_cdk.constructs.workflow_function import FunctionPlatform
from finetuning_cdk.constructs.workflow_functions import WorkflowFunctions
from finetuning_cdk.stacks.storage_stack import StorageStack
from finetuning_cdk.state_machine.definition import definition, functions_called

CODE = Path(finetuning.__file__).resolve().parent
"""The package with the handlers. Its folder has other packages, in a checkout and where it is installed."""


class WorkflowStack(Stack):
    """The functions, the state machine, and what starts runs, cleans up and sweeps. It stores no data."""

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
        importing = (
            import_role(self, "ImportRole", artifacts=storage.artifacts, key=storage.key)
            if config.bedrock_import
            else None
        )
        emptied = [] if config.keep_data else storage.own_buckets
        resources = StageResources(
            config=config,
            uploads=storage.uploads,
            artifacts=storage.artifacts,
            access_logs=storage.access_logs,
            key=storage.key,
            network=network,
            topic=self.topic,
            execution_role=role,
            import_role=importing,
        )
        self.dead_letters = DeadLetterQueue(self, "DeadLetters")
        self.functions = WorkflowFunctions(
            self,
            "Functions",
            platform=FunctionPlatform(
                config=config,
                dead_letters=self.dead_letters,
                key=storage.key,
                network=network,
                code=lambda_.Code.from_asset(
                    str(CODE.parent),
                    exclude=["/*", f"!/{CODE.name}", "__pycache__"],
                    ignore_mode=IgnoreMode.GIT,
                ),
                layer=PythonLayer(self, "Libraries", requirements=LIBRARIES),
                environment=config.function_environment(
                    {
                        "upload_bucket": storage.uploads.bucket_name,
                        "artifacts_bucket": storage.artifacts.bucket_name,
                        "kms_key_arn": storage.key.key_arn,
                        "execution_role_arn": role.role_arn,
                        "import_role_arn": importing.role_arn if importing else None,
                        "subnet_ids": [subnet.subnet_id for subnet in network.vpc.isolated_subnets],
                        "security_group_ids": [network.jobs.security_group_id],
                        "topic_arn": self.topic.topic_arn,
                    },
                ),
            ),
            resources=resources,
            emptied=emptied,
        )
        self.state_machine = FineTuningWorkflow(
            self,
            "Workflow",
            config=config,
            key=storage.key,
            functions={name: self.functions[name] for name in functions_called(definition())},
        )
        self.team = TeamAccess(self, "Team", resources=resources, state_machine=self.state_machine)
        stopping = self._allow_on_executions()
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
        endpoint_sweeper = Sweeper(
            self,
            "Sweeper",
            description="Announces and deletes endpoints that have expired",
            sweep=self.functions["SweepEndpoints"],
            payload={"period_minutes": PERIOD.to_minutes()},
            dead_letters=self.dead_letters,
        )
        run_sweeper = Sweeper(
            self,
            "RunSweeper",
            description="Starts runs whose event was lost and completes interrupted clean-ups",
            sweep=self.functions["SweepRuns"],
            payload={"state_machine_arn": self.state_machine.state_machine_arn, "older_than_minutes": 10},
            dead_letters=self.dead_letters,
        )
        removal = RunRemoval(
            self,
            "Runs",
            remove=self.functions["RemoveRuns"],
            state_machine=self.state_machine,
            empty_buckets=emptied,
            access_logs=storage.access_logs,
        )
        InterfaceRelease(
            self, "Interfaces", wait=self.functions["RemoveRuns"], groups=[network.jobs, network.functions]
        ).wait_for([function for _, function in self.functions.items() if function.is_bound_to_vpc])
        # Deleted in reverse order: while runs are removed, nothing starts new ones, and the permission is still there.
        run_sweeper.node.add_dependency(removal)
        endpoint_sweeper.node.add_dependency(removal)
        self.trigger.node.add_dependency(removal)
        removal.node.add_dependency(stopping)
        # Here and not with the dashboard: they name the log group of every function, and what another stack refers to
        # cannot be removed.
        LogQueries(self, "Queries", prefix=config.prefix, functions=dict(self.functions.items()))
        for name, (value, description) in {
            "UploadBucketName": (storage.uploads.bucket_name, "Upload to inbox/ or runs/<name>/ of this bucket"),
            "ArtifactsBucketName": (storage.artifacts.bucket_name, "Each run's report, plan and model, in runs/<id>/"),
            "TopicArn": (self.topic.topic_arn, "Subscribe to be notified of the runs' ends and of alarms"),
            "StateMachineArn": (self.state_machine.state_machine_arn, "For the command finetune: where runs execute"),
            "StageSettings": (
                StageSettings(**dict(config)).model_dump_json(exclude_none=True),
                "For the command finetune: what runs are planned with",
            ),
        }.items():
            CfnOutput(self, name, value=value, description=description)
        if config.promote_to:
            CfnOutput(
                self,
                "PromotionSettings",
                value=f"-c promote_from={self.account}/{config.stage} "
                f"-c promote_from_bucket={storage.artifacts.bucket_name} -c promote_from_key={storage.key.key_arn}",
                description="For the deployment of a stage in another account that promotes models of this one",
            )
        self.add_metadata(
            "cfn-lint",
            {
                "config": {"ignore_checks": ["W6001"]},
                "reason": "Two outputs repeat the buckets' names, so that one stack has every output a user needs",
            },
        )

    def _allow_on_executions(self) -> Permissions:
        """In separate policies: the state machine depends on the functions, so their roles cannot depend on it.

        Returns the policy of RemoveRuns, which must be deleted after the runs are removed.
        """
        machine = self.state_machine.state_machine_arn
        any_execution = self.format_arn(
            service="states",
            resource="execution",
            resource_name=f"{self.state_machine.state_machine_name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        stopping = (
            Permissions(self, "RemoveRunsOnExecutions")
            .allow("states:ListExecutions", on=[machine], because="Finds active runs when the stage is destroyed")
            .allow("states:StopExecution", on=[any_execution], because="Executions get their names when they start")
        )
        asking = {
            function: Permissions(self, f"{function}OnExecutions").allow(
                "states:DescribeExecution",
                on=[any_execution],
                because="Asks whether the run has ended; executions get their names when they start",
            )
            for function in (
                "StartTraining",
                "DeployEndpoint",
                "ImportModel",
                "SwitchAlias",
                "ReportSuccess",
                "CleanUpRun",
            )
        }
        for function, permissions in {
            **asking,
            "RemoveRuns": stopping,
            "TakeTurn": Permissions(self, "TakeTurnOnExecutions").allow(
                "states:ListExecutions", on=[machine], because="Counts the runs that started before this one"
            ),
            "SweepRuns": Permissions(self, "SweepRunsOnExecutions")
            .allow("states:ListExecutions", "states:StartExecution", on=[machine], because="Starts lost runs")
            .allow(
                "states:DescribeExecution",
                on=[any_execution],
                because="Executions get their names when they start",
            ),
        }.items():
            role = self.functions[function].role
            assert role is not None
            permissions.attach_to_role(role)
        return stopping
