"""The permissions of each function, named by what the workflow does."""

from typing import Self

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_s3 as s3

from finetuning.jumpstart.assumptions import PRICE_LIST_REGIONS
from finetuning.metrics import TRAINING_LOG_GROUP
from finetuning_cdk.constructs.file_permissions import FilePermissions
from finetuning_cdk.constructs.permissions import Conditions

OURS = "The names of runs are not known at deployment; all begin with the stage's prefix"


class StepPermissions(FilePermissions):
    """The policy of one function, with what it may do in AWS's services."""

    def _named(self, *kinds: str) -> list[str]:
        return [
            Stack.of(self).format_arn(
                service="sagemaker", resource=kind, resource_name=f"{self._stage.config.prefix}-*"
            )
            for kind in kinds
        ]

    def start_training(self) -> Self:
        """Jobs only in the stage's network, isolated, encrypted with its key, of allowed instance types and length. A
        stage that does not train allows none.
        """
        config, key = self._stage.config, self._stage.key
        if not config.training:
            return self
        return (
            self.allow(
                "sagemaker:CreateTrainingJob",
                on=self._named("training-job", "training-plan"),
                because=f"{OURS}; a job may use a training plan, capacity that was bought for the stage",
                when=_all_of(
                    self._in_network(),
                    _instance_types(config.training_instance_types),
                    {
                        "ArnEquals": {"sagemaker:OutputKmsKeyArn": key.key_arn},
                        "NumericLessThanEquals": {
                            "sagemaker:MaxRuntimeInSeconds": str(int(config.max_runtime_hours * 3600))
                        },
                        "Bool": {
                            "sagemaker:NetworkIsolation": "true",
                            "sagemaker:InterContainerTrafficEncryption": "true",
                        },
                    },
                ),
            )
            .describe("training-job")
            .read_tags("training-job")
            .tag("training-job")
            ._pass_execution_role()
            ._allow_sagemaker_to_use_key()
        )

    def deploy_endpoints(self) -> Self:
        """Creates models in the stage's network, and creates and updates endpoints on allowed instance types."""
        return (
            self.allow(
                "sagemaker:CreateModel",
                on=self._named("model"),
                because=OURS,
                when=_all_of(self._in_network(), {"Bool": {"sagemaker:NetworkIsolation": "true"}}),
            )
            .allow(
                "sagemaker:CreateEndpointConfig",
                on=self._named("endpoint-config"),
                because=OURS,
                when=_instance_types(self._stage.config.endpoint_instance_types),
            )
            .allow(
                "sagemaker:CreateEndpoint",
                "sagemaker:UpdateEndpoint",
                on=self._named("endpoint", "endpoint-config"),
                because=OURS,
            )
            .describe("model", "endpoint-config", "endpoint")
            .read_tags("model", "endpoint-config", "endpoint")
            .tag("model", "endpoint-config", "endpoint")
            ._pass_execution_role()
            ._allow_sagemaker_to_use_key()
            .watch_endpoints()
            .stop_scaling()
            .scale_endpoints()  # restored when SageMaker rejects an update
            # An update deletes what the endpoint served long ago.
            .find("endpoint-config")
            ._delete_configurations()
            .delete_models()
        )

    def watch_endpoints(self) -> Self:
        """Sets the endpoints' alarms, which SageMaker watches during an update."""
        return self.allow(
            "cloudwatch:PutMetricAlarm", on=[self._alarms()], because="Alarms are named after their endpoints"
        ).allow(
            "cloudwatch:DescribeAlarms",
            on=[self._alarms("*")],
            because="CloudWatch checks it on all alarms, whichever are asked for",
        )

    def restore_after_rollback(self) -> Self:
        """Restores an endpoint's alarms, tags and autoscaling to the model that serves again."""
        return (
            self.describe("endpoint", "endpoint-config")
            .read_tags("endpoint-config")
            .tag("endpoint")
            .watch_endpoints()
            .scale_endpoints()
        )

    def scale_endpoints(self) -> Self:
        """Allows Application Auto Scaling to set the number of instances.

        It acts with a role of its own, but first checks that the caller is allowed the same. Its alarms are named
        `TargetTracking-endpoint/<endpoint>/variant/<variant>-AlarmHigh-<uuid>`, by the answers of PutScalingPolicy;
        that the check names them in this way is assumed.
        """
        stack = Stack.of(self)
        role = "aws-service-role/sagemaker.application-autoscaling.amazonaws.com/*"
        return (
            self.describe("endpoint", "endpoint-config")
            .allow(
                "sagemaker:UpdateEndpointWeightsAndCapacities",
                on=self._named("endpoint"),
                because=OURS,
            )
            ._scaling("RegisterScalableTarget", "PutScalingPolicy")
            .allow(
                "cloudwatch:PutMetricAlarm",
                "cloudwatch:DeleteAlarms",
                on=[self._alarms(f"TargetTracking-endpoint/{self._stage.config.prefix}-*")],
                because="Application Auto Scaling checks these for the caller, on the alarms of our endpoints",
            )
            .allow(
                "cloudwatch:DescribeAlarms",
                on=[self._alarms("*")],
                because="Application Auto Scaling checks this for the caller, for all alarms",
            )
            .allow(
                "iam:CreateServiceLinkedRole",
                on=[f"arn:aws:iam::{stack.account}:role/{role}"],
                because="Application Auto Scaling's own role, created with the account's first scaled endpoint",
                when={"StringEquals": {"iam:AWSServiceName": "sagemaker.application-autoscaling.amazonaws.com"}},
            )
        )

    def stop_scaling(self) -> Self:
        return self._scaling("DeregisterScalableTarget")

    def _scaling(self, *operations: str) -> Self:
        target = Stack.of(self).format_arn(
            service="application-autoscaling", resource="scalable-target", resource_name="*"
        )
        keys = {"service-namespace": "sagemaker", "scalable-dimension": "sagemaker:variant:DesiredInstanceCount"}
        return self.allow(
            *(f"application-autoscaling:{operation}" for operation in operations),
            on=[target],
            because="Scalable targets have random ids; limited to the instances of endpoints",
            when={"StringEquals": {f"application-autoscaling:{key}": value for key, value in keys.items()}},
        )

    def _alarms(self, names: str = "") -> str:
        return Stack.of(self).format_arn(
            service="cloudwatch",
            resource="alarm",
            resource_name=names or f"{self._stage.config.prefix}-*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )

    def register_models(self) -> Self:
        """Creates groups and versions in the model registry."""
        return (
            self.allow(
                "sagemaker:CreateModelPackageGroup",
                on=self._named("model-package-group"),
                because=OURS,
            )
            .allow(
                "sagemaker:CreateModelPackage",
                on=self._named("model-package-group", "model-package"),
                because=OURS,
            )
            .tag("model-package-group")
        )

    def delete_data_in(self, *buckets: s3.IBucket) -> Self:
        """Empties the buckets and, if there are any, the model registry, whose versions refer to them."""
        if not buckets:
            return self
        because = "SageMaker's lists cannot be limited to names; the results are filtered by the stage's prefix"
        return (
            self.empty(*buckets)
            .allow(
                "s3:DeleteBucketPolicy",
                on=[self._stage.access_logs.bucket_arn],
                because="A log that S3 delivers after the bucket was emptied would prevent its deletion",
            )
            .allow("sagemaker:ListModelPackageGroups", "sagemaker:ListModelPackages", on=["*"], because=because)
            .allow("sagemaker:DeleteModelPackage", on=self._named("model-package"), because=OURS)
            .allow("sagemaker:DeleteModelPackageGroup", on=self._named("model-package-group"), because=OURS)
        )

    def describe(self, *kinds: str) -> Self:
        actions = {
            "training-job": "sagemaker:DescribeTrainingJob",
            "model": "sagemaker:DescribeModel",
            "endpoint-config": "sagemaker:DescribeEndpointConfig",
            "endpoint": "sagemaker:DescribeEndpoint",
        }
        for kind in kinds:
            self.allow(actions[kind], on=self._named(kind), because=OURS)
        return self

    def find(self, *kinds: str) -> Self:
        actions = {
            "training-job": "sagemaker:ListTrainingJobs",
            "model": "sagemaker:ListModels",
            "endpoint": "sagemaker:ListEndpoints",
            "endpoint-config": "sagemaker:ListEndpointConfigs",
        }
        because = "SageMaker's lists cannot be limited to names; the results are filtered by the stage's prefix"
        return self.allow_in_this_region(*(actions[kind] for kind in kinds), because=because)

    def read_training_logs(self) -> Self:
        """Reads the logs of this stage's training jobs: the streams' names begin with those of the jobs."""
        group = Stack.of(self).format_arn(
            service="logs",
            resource="log-group",
            resource_name=TRAINING_LOG_GROUP,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        return self.allow("logs:DescribeLogStreams", on=[f"{group}:*"], because="Finds a job's log streams").allow(
            "logs:GetLogEvents", on=[f"{group}:log-stream:{self._stage.config.prefix}-*"], because=OURS
        )

    def stop_training(self) -> Self:
        return self.describe("training-job").allow(
            "sagemaker:StopTrainingJob", on=self._named("training-job"), because=OURS
        )

    def delete_endpoints(self) -> Self:
        """Deletes them with their configurations, alarms and autoscaling (SageMaker stops it if the caller may)."""
        return (
            self.describe("endpoint")
            .read_tags("endpoint", "endpoint-config")
            .find("endpoint-config")
            .allow("sagemaker:DeleteEndpoint", on=self._named("endpoint"), because=OURS)
            ._delete_configurations()
            .allow("cloudwatch:DeleteAlarms", on=[self._alarms()], because="Alarms are named after their endpoints")
            .stop_scaling()
        )

    def update_endpoints(self) -> Self:
        """Lets an endpoint serve its earlier configuration again, with that one's alarms and autoscaling."""
        return (
            self.allow("sagemaker:UpdateEndpoint", on=self._named("endpoint", "endpoint-config"), because=OURS)
            .watch_endpoints()
            .stop_scaling()
            .scale_endpoints()
            ._allow_sagemaker_to_use_key()
        )

    def _delete_configurations(self) -> Self:
        return self.allow("sagemaker:DeleteEndpointConfig", on=self._named("endpoint-config"), because=OURS)

    def clean_up_runs(self) -> Self:
        """Stops a run's jobs and deletes its temporary and unfinished endpoints; leaves the rest to the sweeper."""
        return self.find("training-job").stop_training().delete_temporary_endpoints()

    def delete_temporary_endpoints(self) -> Self:
        return self.delete_endpoints().delete_models().tag("endpoint")

    def sweep_runs(self) -> Self:
        """Finds what runs left behind, identifies its run, and cleans it up."""
        return self.find("endpoint").read_tags("training-job", "endpoint").clean_up_runs()

    def sweep_endpoints(self) -> Self:
        """Finds endpoints, keeps in their tags when they expire, deletes those that have expired, and models and
        configurations that no run uses any more.
        """
        kinds = ("endpoint", "endpoint-config", "model")
        return self.find(*kinds).read_tags(*kinds).tag("endpoint").delete_endpoints().delete_models()

    def delete_models(self) -> Self:
        return self.allow("sagemaker:DeleteModel", on=self._named("model"), because=OURS)

    def invoke_endpoints(self) -> Self:
        return self.allow("sagemaker:InvokeEndpoint", on=self._named("endpoint"), because=OURS)

    def read_invocations(self) -> Self:
        return self.allow_in_this_region(
            "cloudwatch:GetMetricStatistics",
            because="Metrics have no resource-level permissions; the sweeper reads the endpoints' invocations",
        )

    def read_tags(self, *kinds: str) -> Self:
        """Identifies the owner."""
        return self.allow("sagemaker:ListTags", on=self._named(*kinds), because=OURS)

    def describe_network_interfaces(self) -> Self:
        return self.allow_in_this_region(
            "ec2:DescribeNetworkInterfaces",
            because="EC2 descriptions have no resource-level permissions; interfaces in use block deleting subnets",
        )

    def go_on(self) -> Self:
        """Calls itself, because one call cannot last as long as CloudFormation waits."""
        stack = Stack.of(self)
        # CloudFormation shortens the name of a function to 64 characters. It keeps 25 of the stack's name, which has 26
        # where the stage's name has eight.
        function = stack.format_arn(
            service="lambda",
            resource="function",
            resource_name=f"{stack.stack_name[:24]}*-FunctionsRemoveRuns*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        return self.allow(
            "lambda:InvokeFunction",
            on=[function],
            because="Its own name, whose last part CloudFormation chooses; the ARN would be a circular reference",
        )

    def tag(self, *kinds: str) -> Self:
        return self.allow("sagemaker:AddTags", on=self._named(*kinds), because=OURS)

    def _pass_execution_role(self) -> Self:
        return self.allow(
            "iam:PassRole",
            on=[self._stage.execution_role.role_arn],
            because="SageMaker runs the job with this role",
            when={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        )

    def _allow_sagemaker_to_use_key(self) -> Self:
        """For the volumes of instances that accept a key: SageMaker requests a grant on behalf of the caller."""
        return self.allow(
            "kms:CreateGrant",
            on=[self._stage.key.key_arn],
            because="Volumes are encrypted with the stage's key",
            when={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        ).allow("kms:DescribeKey", on=[self._stage.key.key_arn], because="SageMaker checks the key before using it")

    def _in_network(self) -> Conditions:
        network = self._stage.network
        return _only(
            "StringEquals",
            {
                "sagemaker:VpcSubnets": [subnet.subnet_id for subnet in network.vpc.isolated_subnets],
                "sagemaker:VpcSecurityGroupIds": [network.jobs.security_group_id],
            },
        )

    # Everything else

    def check_plans(self) -> Self:
        """Checks that the account allows a plan: free names, instances in use, key, role, quotas, prices."""
        stack, role = Stack.of(self), self._stage.execution_role
        for action, kind in (
            ("DescribeTrainingJob", "training-job"),
            ("DescribeEndpoint", "endpoint"),
            ("DescribeEndpointConfig", "endpoint-config"),
        ):
            self.allow(
                f"sagemaker:{action}",
                on=[stack.format_arn(service="sagemaker", resource=kind, resource_name="*")],
                because="Quotas are for the account: instances of all its jobs and endpoints count",
            )
        return (
            self._look_up_limits_and_prices()
            .allow(
                "sagemaker:DescribeTrainingPlan",
                on=self._named("training-plan"),
                because="A bought plan must have the run's instance type and enough time left",
            )
            .find("training-job", "endpoint")
            .read_tags("training-job", "endpoint")
            .allow("kms:DescribeKey", on=[self._stage.key.key_arn], because="The key must be enabled")
            .allow("iam:GetRole", on=[role.role_arn], because="SageMaker must be allowed to assume the role")
        )

    def _look_up_limits_and_prices(self) -> Self:
        return self.allow_in_this_region(
            "servicequotas:ListServiceQuotas",
            because="Quotas have no resource-level permissions for reading; the preflight compares them with the plan",
        ).allow(
            "pricing:GetProducts",
            on=["*"],
            because="The price list is public and has no resources; three regions serve it",
            when={"StringEquals": {"aws:RequestedRegion": list(PRICE_LIST_REGIONS)}},
        )

    def notify(self) -> Self:
        return self.allow("sns:Publish", on=[self._stage.topic.topic_arn], because="Notifies the team").use_key(
            self._stage.key,
            "kms:Decrypt",
            "kms:GenerateDataKey",
            by="sns",
            because="The topic is encrypted with the stage's key",
        )


def _only(operator: str, values: dict[str, list[str]]) -> Conditions:
    """All values in the request are among these, and there is one: `ForAllValues` alone also matches a missing key."""
    return {f"ForAllValues:{operator}": values, "Null": dict.fromkeys(values, "false")}


def _instance_types(patterns: tuple[str, ...]) -> Conditions:
    return _only("StringLike", {"sagemaker:InstanceTypes": list(patterns)})


def _all_of(*conditions: Conditions) -> Conditions:
    """Merges condition blocks into one; IAM requires every condition of a block."""
    merged: dict[str, dict[str, object]] = {}
    for condition in conditions:
        for operator, values in condition.items():
            merged.setdefault(operator, {}).update(values)
    return merged
