"""What the team looks at, and what wakes it."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.config import StageConfig
from infra.constructs.run_alarms import RunAlarms
from infra.constructs.run_dashboard import RunDashboard
from infra.stacks.workflow_stack import WorkflowStack


class MonitoringStack(Stack):
    """One dashboard, and an alarm for every failure nobody is told of otherwise."""

    def __init__(
        self, scope: Construct, id: str, *, config: StageConfig, workflow: WorkflowStack, **kwargs: Any
    ) -> None:
        super().__init__(scope, id, **kwargs)
        unattended = {name: workflow.functions[name] for name in ("CleanUpRun", "SweepEndpoints", "RemoveRuns")}
        alarms = RunAlarms(
            self,
            "Alarms",
            topic=workflow.topic,
            state_machine=workflow.state_machine,
            unattended=unattended,
            sweep=workflow.functions["SweepEndpoints"],
            dead_letters=workflow.dead_letters,
        )
        dashboard = RunDashboard(
            self,
            "Dashboard",
            prefix=config.prefix,
            state_machine=workflow.state_machine,
            functions=dict(workflow.functions.items()),
            alarms=alarms.all,
        )
        CfnOutput(self, "DashboardName", value=dashboard.dashboard_name)
        CfnOutput(
            self,
            "DashboardUrl",
            value=f"https://{self.region}.console.aws.amazon.com/cloudwatch/home?region={self.region}"
            f"#dashboards/dashboard/{dashboard.dashboard_name}",
        )
