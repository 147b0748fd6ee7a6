"""The dashboard, the alarms and the budget."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from finetuning.report.console_links import (
    alarms_link,
    dashboard_link,
    endpoints_link,
    executions_link,
    files_link,
    imported_models_link,
    queries_link,
    traces_link,
    training_jobs_link,
)
from finetuning.runs.layout import RUNS
from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.monthly_budget import MonthlyBudget
from finetuning_cdk.constructs.run_alarms import RunAlarms
from finetuning_cdk.constructs.run_dashboard import RunDashboard
from finetuning_cdk.stacks.storage_stack import StorageStack
from finetuning_cdk.stacks.workflow_stack import WorkflowStack

UNATTENDED = ("CleanUpRun", "SweepEndpoints", "SweepRuns", "RemoveRuns")
"""Functions that run outside the workflow."""


class MonitoringStack(Stack):
    """One dashboard, and an alarm for every failure that nothing else reports."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: StageConfig,
        storage: StorageStack,
        workflow: WorkflowStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        functions = dict(workflow.functions.items())
        alarms = RunAlarms(
            self,
            "Alarms",
            prefix=config.prefix,
            topic=workflow.topic,
            state_machine=workflow.state_machine,
            unattended={name: functions[name] for name in UNATTENDED},
            throttled={name: functions[name] for name in (*UNATTENDED, "PrepareShard")},
            dead_letters=workflow.dead_letters,
        )
        if config.monthly_budget_usd is not None:
            MonthlyBudget(self, "Budget", stage=config.stage, usd=config.monthly_budget_usd, topic=workflow.topic)
        dashboard = RunDashboard(
            self,
            "Dashboard",
            prefix=config.prefix,
            state_machine=workflow.state_machine,
            functions=functions,
            alarms=alarms.all,
            links={
                "Runs": executions_link(self.region, workflow.state_machine.state_machine_arn),
                "Training jobs": training_jobs_link(self.region),
                "Endpoints": endpoints_link(self.region),
                "Uploads": files_link(self.region, storage.uploads.bucket_name, RUNS),
                "Reports and files of runs": files_link(self.region, storage.artifacts.bucket_name, RUNS),
                "Saved queries": queries_link(self.region),
                "Traces": traces_link(self.region),
                "Alarms": alarms_link(self.region),
                **({"Imported models": imported_models_link(self.region)} if config.bedrock_import else {}),
            },
            imports_models=config.bedrock_import,
        )
        CfnOutput(
            self,
            "DashboardUrl",
            value=dashboard_link(self.region, dashboard.dashboard_name),
            description="The dashboard: what costs money now, what failed, how training is progressing",
        )
