"""What people and applications may do with a stage: managed policies for a team's roles, and grants.

What each command calls is in the command; tests/rehearsal/test_access.py runs the commands with these policies.
"""

from collections.abc import Sequence
from typing import Any, Self

from aws_cdk import ArnFormat, CfnOutput, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from finetuning.runs.layout import INBOX, RUNS
from finetuning.runs.tags import OWNER_TAG
from finetuning_cdk.constructs.acknowledgements import acknowledge, wildcard_finding
from finetuning_cdk.constructs.file_permissions import ANY_RUN, EACH_RUN, UPLOADS, StageResources
from finetuning_cdk.constructs.import_permissions import ALIASES, ENCRYPTED, MODELS, TAGGED
from finetuning_cdk.constructs.permissions import Allows, Conditions
from finetuning_cdk.constructs.promotion_permissions import PromotionPermissions
from finetuning_cdk.constructs.step_permissions import OURS


class TeamAccess(Construct):
    """Three managed policies, each with the permissions of the one before it, and what can be granted alone.

    Their ARNs are outputs of the stack, and the policies are attached to nobody.
    """

    def __init__(
        self, scope: Construct, id: str, *, resources: StageResources, state_machine: sfn.StateMachine
    ) -> None:
        super().__init__(scope, id)
        self._stage, self._machine = resources, state_machine
        self.viewer = self._policy("Viewer", "Sees runs, their reports and logs, and endpoints")
        self.data_scientist = self._policy("DataScientist", "Also submits and stops runs, and uses endpoints")
        self.operator = self._policy("Operator", "Also approves, rolls back and deletes")
        for policy in (self.viewer, self.data_scientist, self.operator):
            self._view(policy)
        for policy in (self.data_scientist, self.operator):
            self._use(policy)
        self._operate(self.operator)

    def grant_submit(self, grantee: iam.IGrantable) -> iam.Grant:
        return self._grant(grantee, self._submit)

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        return self._grant(grantee, self._invoke)

    def grant_approve(self, grantee: iam.IGrantable) -> iam.Grant:
        return self._grant(grantee, self._read_approvals, self._approve)

    def _grant(self, grantee: iam.IGrantable, *allowing: Any) -> iam.Grant:
        to = _Grantee(grantee)
        for allow in allowing:
            allow(to)
        assert to.granted is not None
        return to.granted

    def _policy(self, name: str, description: str) -> PromotionPermissions:
        policy = PromotionPermissions(self, name, resources=self._stage, description=f"{description} of this stage")
        CfnOutput(
            Stack.of(self),
            f"{name}PolicyArn",
            value=policy.managed_policy_arn,
            description=f"Attach it to your roles or groups. {description}",
        )
        return policy

    # What each may do

    def _view(self, may: PromotionPermissions) -> None:
        """`runs`, `watch`, `report`, `open`, `download`, `logs`, `endpoints`, and `plan` for the stage's settings."""
        stack = Stack.of(self)
        may.allow(
            "cloudformation:DescribeStacks",
            on=[stack.format_arn(service="cloudformation", resource="stack", resource_name=f"{stack.stack_name}/*")],
            because="The last part of a stack's ARN is made when it is created",
        )
        may.read_runs().read_measurements().read_training_logs()
        may.allow(
            "states:DescribeExecution", on=[self._executions], because="Executions get their names when they start"
        )
        may.describe("training-job", "endpoint", "endpoint-config").read_tags("endpoint", "endpoint-config")
        may.find("training-job", "endpoint", "endpoint-config").read_invocations()
        may.find_imports().read_names()

    def _use(self, may: PromotionPermissions) -> None:
        """`submit`, `promote`, `stop`, `deploy`, `ask`, `evaluate`, `token`, `extend`."""
        self._submit(may)
        uploads = self._stage.uploads
        objects = self._under(INBOX, RUNS)
        may.allow("s3:GetObject", "s3:GetObjectVersion", on=objects, because=UPLOADS)
        may.allow("s3:ListBucket", on=[uploads.bucket_arn], because="Finds the files of an earlier upload")
        may.allow("states:StopExecution", on=[self._executions], because="Executions get their names when they start")
        may.allow("states:StartExecution", on=[self._machine.state_machine_arn], because="Deploys a run's model again")
        may.keep_imports_for_a_while()
        may.tag("endpoint").write_files(ANY_RUN.evaluations_folder + "*.json")
        self._invoke(may)

    def _operate(self, may: PromotionPermissions) -> None:
        """`approve`, `reject`, `rollback`, `clean-up`; in a stage with `promote_to` also approves registered models."""
        self._approve(may)
        may.approve_versions()
        may.update_endpoints().stop_training().delete_endpoints().delete_models().delete_imports()

    def _submit(self, may: Allows) -> None:
        may.allow("s3:PutObject", "s3:AbortMultipartUpload", on=self._under(INBOX, RUNS), because=UPLOADS)
        # S3 decrypts the parts of a large file to join them.
        may.use_key(self._stage.key, "kms:GenerateDataKey", "kms:Decrypt")

    def _invoke(self, may: Allows) -> None:
        endpoints = Stack.of(self).format_arn(
            service="sagemaker", resource="endpoint", resource_name=f"{self._stage.config.prefix}-*"
        )
        # A streamed answer is asked for under another name.
        actions = ("sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream")
        may.allow(*actions, on=[endpoints], because=OURS)
        may.allow(
            "sagemaker:CallWithBearerToken",
            on=["*"],
            because="Cannot be limited to an endpoint, and allows nothing without InvokeEndpoint",
            when={"StringEquals": {"aws:RequestedRegion": Stack.of(self).region}},
        )

        if self._stage.import_role is not None:
            self._invoke_imports(may)

    def _invoke_imports(self, may: Allows) -> None:
        """Finds the model that a name stands for, and asks it."""
        may.allow(
            "bedrock:InvokeModel",
            "bedrock:InvokeModelWithResponseStream",
            on=[Stack.of(self).format_arn(service="bedrock", resource=MODELS, resource_name="*")],
            because=TAGGED,
            when={"StringEquals": {f"aws:ResourceTag/{OWNER_TAG}": self._stage.config.prefix}},
        )
        names = self._stage.artifacts.arn_for_objects(ALIASES)
        may.allow("s3:GetObject", on=[names], because="A document for each name that stands for an imported model")
        may.use_key(self._stage.key, "kms:Decrypt")
        may.use_key(self._stage.key, "kms:Decrypt", by="bedrock", because=ENCRYPTED)

    def _read_approvals(self, may: Allows) -> None:
        artifacts = self._stage.artifacts
        objects = [artifacts.arn_for_objects(key) for key in (ANY_RUN.approval, ANY_RUN.status)]
        may.allow("s3:GetObject", on=objects, because=EACH_RUN)
        may.allow("s3:ListBucket", on=[artifacts.bucket_arn], because="Distinguishes absent from forbidden")
        may.use_key(self._stage.key, "kms:Decrypt")

    def _approve(self, may: Allows) -> None:
        may.allow(
            "states:SendTaskSuccess",
            "states:SendTaskFailure",
            on=["*"],
            because="Task tokens are no resources; a run's is in its files, which this policy lets read of this stage",
            when={"StringEquals": {"aws:RequestedRegion": Stack.of(self).region}},
        )

    @property
    def _executions(self) -> str:
        return Stack.of(self).format_arn(
            service="states",
            resource="execution",
            resource_name=f"{self._machine.state_machine_name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )

    def _under(self, *prefixes: str) -> list[str]:
        return [self._stage.uploads.arn_for_objects(f"{prefix}*") for prefix in prefixes]


class _Grantee(Allows):
    """Adds what it is allowed to the grantee's policy, and accepts there what cdk-nag reports of it."""

    def __init__(self, grantee: iam.IGrantable) -> None:
        self._grantee = grantee
        self.granted: iam.Grant | None = None

    def allow(self, *actions: str, on: Sequence[str], because: str, when: Conditions | None = None) -> Self:
        grant = iam.Grant.add_to_principal(
            grantee=self._grantee, actions=list(actions), resource_arns=list(on), conditions=when
        )
        self.granted = self.granted.combine(grant) if self.granted else grant
        principal = self._grantee.grant_principal
        if isinstance(principal, Construct):
            for resource in on:
                if "*" in resource:
                    acknowledge(principal, wildcard_finding(principal, resource), because=because)
        return self
