"""The whole product as one construct."""

from collections.abc import Mapping
from typing import Any, Self

from aws_cdk import Environment, Stack, Tags, Token
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk.region_info import RegionInfo
from constructs import Construct, IConstruct

from finetuning.runs.tags import STAGE_TAG
from finetuning_cdk.config import ConfigurationError, StageConfig, stage_in
from finetuning_cdk.constructs.own_resources import OwnResources
from finetuning_cdk.stacks.monitoring_stack import MonitoringStack
from finetuning_cdk.stacks.network_stack import NetworkStack
from finetuning_cdk.stacks.storage_stack import StorageStack
from finetuning_cdk.stacks.workflow_stack import WorkflowStack

FEATURE_FLAGS: Mapping[str, Any] = {
    "@aws-cdk/aws-cloudwatch-actions:changeLambdaPermissionLogicalIdForLambdaAction": True,
    "@aws-cdk/aws-ec2:restrictDefaultSecurityGroup": False,
    "@aws-cdk/aws-events:eventsTargetQueueSameAccount": True,
    "@aws-cdk/aws-events:requireEventBusPolicySid": True,
    "@aws-cdk/aws-iam:minimizePolicies": True,
    "@aws-cdk/aws-iam:standardizedServicePrincipals": True,
    "@aws-cdk/aws-lambda:recognizeLayerVersion": True,
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,
    "@aws-cdk/core:checkSecretUsage": True,
    "@aws-cdk/core:defaultCrossStackReferences": "strong",
    "@aws-cdk/core:enablePartitionLiterals": True,
    "@aws-cdk/core:target-partitions": ["aws"],
}
"""What the templates are tested with, whatever the app around them has set. They apply to these stacks alone."""


class FineTuning(Construct):
    """A stage: uploads to an S3 bucket are fine-tuned, evaluated and deployed as private endpoints.

    It makes four stacks, named `finetune-<stage>-storage`, `-network`, `-workflow` and `-monitoring`, in the order they
    are deployed: in an app they are deployed by `cdk deploy --all`, and in an `aws_cdk.Stage` with the others of it.

    `stage` is 2 to 8 lower-case letters and digits, and different for each instance in an account and region. `profile`
    is `dev` or `prod`, the defaults of the settings; a stage of that name needs none. Any other argument is a setting
    of docs/operating.md, such as `accept_eula=True`; an unknown or invalid one raises `ConfigurationError`.

    `vpc`, `key` and `uploads` are a network, a key and an upload bucket of the caller's, instead of new ones. They are
    never changed or deleted, with one exception: a key of the same app gets the policy statements that AWS's services
    need. They are checked at synthesis, and what is missing is one error (docs/reuse.md).

    The stacks are for any account and region, or for `env`, which by default is that of the stack around this
    construct, else of the resources that it is given.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        stage: str,
        profile: str | None = None,
        vpc: ec2.IVpc | None = None,
        key: kms.IKey | None = None,
        uploads: s3.IBucket | None = None,
        env: Environment | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(scope, id)
        for flag, value in FEATURE_FLAGS.items():
            self.node.set_context(flag, value)
        self.config = StageConfig.of(stage, settings, profile=profile)
        if vpc is None and self.config.control_functions_in_vpc and not self.config.interface_endpoints:
            # Every step would time out, and its failure could not be reported either.
            raise ConfigurationError(
                f"Stage {stage}: control_functions_in_vpc: needs interface_endpoints, as functions in the VPC have "
                "no other way to AWS: set both, or neither"
            )
        prefix, env = self.config.prefix, env or _environment(scope, vpc, key, uploads)

        def arguments(stack: str) -> dict[str, Any]:
            return {
                "config": self.config,
                "env": env,
                "stack_name": f"{prefix}-{stack}",
                "termination_protection": self.config.termination_protection,
            }

        self.storage = StorageStack(self, "storage", key=key, uploads=uploads, **arguments("storage"))
        _require_supported(self.storage.region)
        self.network = NetworkStack(self, "network", storage=self.storage, vpc=vpc, **arguments("network"))
        self.workflow = WorkflowStack(
            self, "workflow", storage=self.storage, network=self.network.network, **arguments("workflow")
        )
        self.monitoring = MonitoringStack(
            self, "monitoring", storage=self.storage, workflow=self.workflow, **arguments("monitoring")
        )
        OwnResources(self, config=self.config, vpc=vpc, key=key, uploads=uploads)
        Tags.of(self).add(STAGE_TAG, self.config.stage)

    @classmethod
    def from_context(cls, scope: Construct) -> Self:
        """The stage that the CDK's context describes: `-c stage=alice -c profile=dev -c max_cost_usd=50`.

        Every plain lower-case key of the context is a setting: a misspelt one raises `ConfigurationError`.
        """
        stage = stage_in(scope.node.get_all_context())
        return cls(scope, f"finetune-{stage['stage']}", **stage)

    @property
    def uploads(self) -> s3.IBucket:
        """Where runs are uploaded, to `inbox/` or `runs/<name>/`."""
        return self.storage.uploads

    @property
    def artifacts(self) -> s3.IBucket:
        """Where runs keep their files: reports, datasets and models, in `runs/<id>/`."""
        return self.storage.artifacts

    @property
    def viewer(self) -> iam.IManagedPolicy:
        """May see runs, their reports and logs, and endpoints."""
        return self.workflow.team.viewer

    @property
    def data_scientist(self) -> iam.IManagedPolicy:
        """May also submit and stop runs, deploy their models again, and ask and extend endpoints."""
        return self.workflow.team.data_scientist

    @property
    def operator(self) -> iam.IManagedPolicy:
        """May also answer approvals, roll endpoints back, and delete what runs made."""
        return self.workflow.team.operator

    def grant_submit(self, grantee: iam.IGrantable) -> iam.Grant:
        """Uploads runs, and nothing else."""
        return self.workflow.team.grant_submit(grantee)

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Invokes the stage's endpoints and imported models, as an application does."""
        return self.workflow.team.grant_invoke(grantee)

    def grant_approve(self, grantee: iam.IGrantable) -> iam.Grant:
        """Reads what a run waits for, and approves or rejects it."""
        return self.workflow.team.grant_approve(grantee)

    def metric_runs_failed(self, **options: Any) -> cloudwatch.Metric:
        """The number of runs that failed; the options are those of a CloudWatch metric."""
        return self.workflow.state_machine.metric_failed(**options)

    def on_run_ended(self, rule: events.Rule) -> events.Rule:
        """Lets the rule match the end of every run, whatever its outcome. Its target is the caller's.

        The rule is in the caller's stack: one of this stack would depend on its target, which depends on the rule. In
        the event, `detail.status` is SUCCEEDED, FAILED, ABORTED or TIMED_OUT, and `detail.name` the execution.
        """
        rule.add_event_pattern(
            source=["aws.states"],
            detail_type=["Step Functions Execution Status Change"],
            detail={
                "status": ["SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"],
                "stateMachineArn": [self.workflow.state_machine.state_machine_arn],
            },
        )
        return rule


def _require_supported(region: str) -> None:
    """JumpStart's buckets, and the ARNs in the policies, are those of AWS's own partition."""
    partition = None if Token.is_unresolved(region) else RegionInfo.get(region).partition
    if partition not in (None, "aws"):
        raise ConfigurationError(
            f"env: {region} is in the partition {partition}, and only regions of aws are supported"
        )


def _environment(scope: Construct, *given: IConstruct | None) -> Environment | None:
    around = [each for each in scope.node.scopes if Stack.is_stack(each)]
    for each in (*reversed(around), *given):
        if each is not None:
            stack = Stack.of(each)
            return Environment(account=stack.account, region=stack.region)
    return None
